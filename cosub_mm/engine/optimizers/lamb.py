"""LAMB as the recipes train with it: timm's, which updates many tensors at once."""

import inspect

from mmengine.registry import OPTIMIZERS
from torch.optim import Optimizer

__all__ = ['CosubLamb']


@OPTIMIZERS.register_module()
class CosubLamb:
    """Builds timm's ``Lamb(foreach=True)``; what comes out *is* timm's.

    The mathematics are apex's ``FusedLAMB``, with which DeiT III was trained: the global norm of
    the gradients is clipped to ``max_grad_norm``, weight decay is added to Adam's step, and a
    parameter with weight decay moves by the step's direction times its own norm. Steps of
    mmpretrain's ``Lamb`` are the same, but cost twenty kernels a tensor. Its checkpoints resume.

    Args:
        params: parameters or groups of them. A group is updated at once: few groups, fast steps.
        lr: learning rate.
        betas: decay of the two moments.
        eps: added to the denominator (1e-8 in DeiT III; timm's and apex's own is 1e-6).
        weight_decay: weight decay. Without it there is no trust ratio: the step is Adam's.
        max_grad_norm: global norm that gradients are clipped to; None clips nothing.
        foreach: update the tensors of a group together, on the CPU as well as on a GPU. False goes
            tensor by tensor, None leaves it to timm.
        **kwargs: other arguments of timm's ``Lamb``.

    Raises:
        ImportError: a timm whose ``Lamb`` has no ``foreach``.
    """

    def __new__(
        cls,
        params,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-6,
        weight_decay: float = 0.01,
        max_grad_norm: float | None = 1.0,
        foreach: bool | None = True,
        **kwargs,
    ) -> Optimizer:
        """Return timm's optimizer."""
        optimizer = _timms_lamb()(
            params,
            lr=lr,
            betas=tuple(betas),
            eps=eps,
            weight_decay=weight_decay,
            max_grad_norm=max_grad_norm,
            foreach=foreach,
            **kwargs,
        )
        optimizer.register_load_state_dict_post_hook(_keep_foreach)
        return optimizer


def _timms_lamb() -> type[Optimizer]:
    """The class, imported at the first use: it costs half a second.

    Raises:
        ImportError: a timm whose ``Lamb`` has no ``foreach``.
    """
    import timm
    import torch._dynamo

    config = torch._dynamo.config
    name = 'recompile_limit' if hasattr(config, 'recompile_limit') else 'cache_size_limit'  # 2.6
    limit = getattr(config, name)
    try:
        from timm.optim import Lamb
    finally:
        setattr(config, name, limit)  # timm.optim sets it to a million
    if 'foreach' not in inspect.signature(Lamb).parameters:
        raise ImportError(
            f'CosubLamb needs a timm whose Lamb has the argument foreach (1.0.31 has); this is '
            f'timm {timm.__version__}. Install a newer one, or train by '
            f"optim_wrapper.optimizer.type=Lamb, mmpretrain's: the same steps, slower."
        )
    return Lamb


def _keep_foreach(optimizer: Optimizer) -> None:
    """How to compute is the run's own choice; settings of a checkpoint must not undo it."""
    for group in optimizer.param_groups:
        group['foreach'] = optimizer.defaults['foreach']
