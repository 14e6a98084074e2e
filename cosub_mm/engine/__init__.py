"""Hooks, schedules, wrappers and the runner. Importing it registers them; it must stay cheap."""

# First: it calls for this package (see cosub_mm.registry), whose parts need all of it.
import mmengine.runner  # noqa: F401

from . import amp, hooks, loops, optimizers, parallel, runner, schedulers

__all__ = ['amp', 'hooks', 'loops', 'optimizers', 'parallel', 'runner', 'schedulers']
