"""ZeRO-1: each process keeps the optimizer's states of its share of the parameters."""

import math
from typing import Any

import torch
from mmengine.dist import is_main_process
from mmengine.registry import OPTIMIZERS
from torch.distributed.optim import ZeroRedundancyOptimizer
from torch.nn.utils import get_total_norm
from torch.optim import Optimizer

__all__ = ['CosubZeRO', 'is_zero', 'with_zero']

NAMES = ('ZeroRedundancyOptimizer', 'CosubZeRO')
# They clip by the norm of all gradients, of which an optimizer inside this one sees its share. With
# these values of max_grad_norm they leave that alone.
LAMBS = dict(CosubLamb=None, Lamb=math.inf)
_CLIPPED_TO = 1.0  # both by default


@OPTIMIZERS.register_module()
class CosubZeRO(ZeroRedundancyOptimizer):
    """torch's ZeroRedundancyOptimizer around any optimizer that goes parameter by parameter.

    Every parameter belongs to one process as a whole, so that LAMB's trust ratios are those of
    whole tensors. Its clipping by the norm of all gradients is done here. What it saves and loads
    is what the optimizer inside would, alone in a single process.

    Args:
        params: parameters or groups of them.
        optimizer_type: registered name of the optimizer inside.
        max_grad_norm: of the LAMBs, as theirs: norm of all gradients that they are clipped to.
        **kwargs: of the optimizer inside.

    Raises:
        ValueError: an unknown optimizer, or ``max_grad_norm`` for one that has none.
    """

    def __init__(
        self,
        params: list,
        optimizer_type: str,
        max_grad_norm: float | None = _CLIPPED_TO,
        **kwargs: Any,
    ) -> None:
        with OPTIMIZERS.switch_scope_and_registry(None) as registry:
            inside = registry.get(optimizer_type) if isinstance(optimizer_type, str) else None
        if inside is None:
            raise ValueError(f'optimizer_type={optimizer_type!r} is no name of a known optimizer.')
        name, self.max_grad_norm = optimizer_type.rpartition('.')[2], None
        if name in LAMBS:
            self.max_grad_norm = max_grad_norm
            kwargs['max_grad_norm'] = LAMBS[name]
        elif max_grad_norm != _CLIPPED_TO:
            raise ValueError(f'{name} has no max_grad_norm; set optim_wrapper.clip_grad.')
        super().__init__(list(params), inside, **kwargs)
        # What logs and checkpoints say of the settings is what they are; nobody computes by it.
        self.defaults = dict(self.optim.defaults)
        for settings in (self.defaults, *self.param_groups):
            if 'max_grad_norm' in settings:
                settings['max_grad_norm'] = self.max_grad_norm

    @torch.no_grad()
    def step(self, closure: Any = None, **kwargs: Any) -> Any:
        """Clip by the norm of all gradients where LAMB does, and take the step."""
        if self.max_grad_norm is not None:
            self._clip()
        return super().step(closure, **kwargs)

    def _clip(self) -> None:
        def gradients(optimizer: Optimizer) -> list[torch.Tensor]:
            groups = optimizer.param_groups
            return [p.grad for group in groups for p in group['params'] if p.grad is not None]

        everything, own = gradients(self), gradients(self.optim)
        if own:
            factor = (get_total_norm(everything) / self.max_grad_norm).clamp_(min=1.0)
            torch._foreach_div_(own, factor)

    def state_dict(self) -> dict[str, Any]:
        """The whole state in the first process and none in the others; all have to ask for it."""
        self.consolidate_state_dict()
        return super().state_dict() if is_main_process() else dict(state={}, param_groups=[])

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load the whole state, of which each process keeps its share."""
        # torch's own numbers the states before hooks have regrouped them, and keeps them twice.
        Optimizer.load_state_dict(self, state_dict)
        for group, inside in zip(self.param_groups, self.optim.param_groups, strict=True):
            inside.update({key: value for key, value in group.items() if key != 'params'})
            if 'foreach' in self.optim.defaults:  # how to compute is the run's own choice
                group['foreach'] = inside['foreach'] = self.optim.defaults['foreach']
            for parameter in inside['params']:
                if parameter in self.state:
                    self.optim.state[parameter] = self.state[parameter]
        self.state.clear()


def is_zero(optimizer: dict) -> bool:
    """Whether a config names mmengine's ``ZeroRedundancyOptimizer`` or ours."""
    kind = optimizer.get('type')
    return getattr(kind, '__name__', str(kind)).rpartition('.')[2] in NAMES


def with_zero(optimizer: dict, processes: int) -> dict:
    """The config of an optimizer that is spread over the processes; alone it stays what it is.

    Args:
        optimizer: its config, or that of mmengine's ``ZeroRedundancyOptimizer``.
        processes: number of processes.
    """
    settings = {k: v for k, v in optimizer.items() if k not in ('type', 'optimizer_type')}
    kind = optimizer['optimizer_type' if is_zero(optimizer) else 'type']
    if processes == 1:
        return dict(type=kind, **settings)
    return dict(type='mmengine.CosubZeRO', optimizer_type=kind, **settings)
