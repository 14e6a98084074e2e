"""Hooks, schedules, wrappers and the runner. Importing it registers them; it must stay cheap."""

from . import amp, hooks, optimizers, runner, schedulers

__all__ = ['amp', 'hooks', 'optimizers', 'runner', 'schedulers']
