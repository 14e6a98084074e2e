"""Hooks, schedules and optimizer constructors. Importing it registers them; it must stay cheap."""

from . import optimizers, schedulers

__all__ = ['optimizers', 'schedulers']
