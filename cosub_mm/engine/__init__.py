"""Hooks, schedules, wrappers and the runner. Importing it registers them; it must stay cheap."""

from . import amp, hooks, loops, optimizers, runner, schedulers

__all__ = ['amp', 'hooks', 'loops', 'optimizers', 'runner', 'schedulers']
