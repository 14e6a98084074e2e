"""mmengine's Runner for models and optimizers that are spread over the processes."""

import inspect
from contextlib import suppress

from mmengine.dist import get_world_size, is_main_process
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.optim import OptimWrapper, OptimWrapperDict
from mmengine.runner import Runner
from torch.optim import Optimizer

from .fsdp2 import CosubFSDP2
from .whole import collecting, spread_optimizer, whole
from .zero import CosubZeRO, is_zero, with_zero

__all__ = ['SpreadRunner']


class Collected(Exception):
    """This process has given its parts and writes nothing: it leaves mmengine's method."""


class SpreadRunner(Runner):
    """mmengine's Runner; a model or an optimizer may lie in parts in the processes.

    The model (``CosubFSDP2``) is spread before the optimizer is built, and behind all that wants it
    whole: initialising it, hooks that change or copy it. A checkpoint is collected by all processes
    together and written by the first, as if it had trained alone.
    """

    def __init__(self, *args, **kwargs) -> None:
        self._ready: list[Hook] = []  # hooks whose before_run came early
        super().__init__(*args, **kwargs)

    @property
    def spread(self) -> bool:
        """Whether model or optimizer lies in parts, so that all processes have to save together."""
        zero = any(isinstance(one, CosubZeRO) for one in _optimizers(self.optim_wrapper))
        return zero or self._model_is_spread()

    def _model_is_spread(self) -> bool:
        return isinstance(self.model, CosubFSDP2) and self.model.sharded

    def build_optim_wrapper(self, optim_wrapper: OptimWrapper | dict) -> OptimWrapper:
        """Spread the model, and build the optimizer, itself in parts where that is asked for."""
        if isinstance(optim_wrapper, OptimWrapper):
            return super().build_optim_wrapper(optim_wrapper)
        optimizer = optim_wrapper.get('optimizer')
        if isinstance(optimizer, dict) and (self.cfg.get('shard_optimizer') or is_zero(optimizer)):
            processes = get_world_size()
            optim_wrapper = dict(optim_wrapper, optimizer=with_zero(optimizer, processes))
            self.logger.info(
                f'ZeRO-1: each of {processes} process(es) keeps the states of its share of the '
                f'optimizer.'
            )
        if isinstance(self.model, CosubFSDP2) and not self.model.sharded:
            self._spread_model()
        built = super().build_optim_wrapper(optim_wrapper)
        if isinstance(self.model, CosubFSDP2):
            for one in _optimizers(built):
                spread_optimizer(one)
        return built

    def _spread_model(self) -> None:
        self.call_hook('before_run')
        self._ready = list(self.hooks)
        self._init_model_weights()
        self.model.shard(self.hooks)
        self.logger.info(
            f'FSDP2: each of {get_world_size()} processes keeps its rows of the parameters, the '
            f'gradients and the states of the optimizer.'
        )

    def _init_model_weights(self) -> None:
        """Initialise the weights, unless that was done before the model was spread."""
        if not self._model_is_spread():
            super()._init_model_weights()

    def call_hook(self, fn_name: str, **kwargs) -> None:
        """Call a method of all hooks; no early ``before_run`` again, and whole what they save."""
        if fn_name == 'before_run' and self._ready:
            early, self._ready = self._ready, []
            for hook in self.hooks:
                if hook not in early:
                    hook.before_run(self)
            return
        super().call_hook(fn_name, **kwargs)
        if fn_name == 'before_save_checkpoint' and self.spread:
            checkpoint = kwargs['checkpoint']
            plain = ('meta', 'message_hub')
            parts = {key: value for key, value in checkpoint.items() if key not in plain}
            checkpoint.update(whole(parts))
            if not is_main_process():
                raise Collected

    def save_checkpoint(self, out_dir: str, filename: str, *args, **kwargs) -> None:
        """Save what mmengine saves, whole; all processes have to call it."""
        if not self.spread:
            super().save_checkpoint(out_dir, filename, *args, **kwargs)
            return
        model = self.model.module if is_model_wrapper(self.model) else self.model
        # mmengine lets the first process alone into its method, where it would wait for the others.
        method = inspect.unwrap(Runner.save_checkpoint)
        with collecting(model, _optimizers(self.optim_wrapper)), suppress(Collected):
            method(self, out_dir, filename, *args, **kwargs)

    def resume(self, filename: str, *args, **kwargs) -> None:
        """Resume; the whole states of an optimizer of which parts are kept never see a device."""
        if self.spread and not args:
            kwargs.setdefault('map_location', 'cpu')
        super().resume(filename, *args, **kwargs)


def _optimizers(optim_wrapper: OptimWrapper | OptimWrapperDict | dict | None) -> list[Optimizer]:
    wrappers = [optim_wrapper]
    if isinstance(optim_wrapper, OptimWrapperDict):
        wrappers = list(optim_wrapper.values())
    return [one.optimizer for one in wrappers if isinstance(one, OptimWrapper)]
