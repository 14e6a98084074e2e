"""Mixed precision: bfloat16 wherever it is asked for, float16 with loss scaling on GPUs."""

from contextlib import contextmanager

import torch
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.optim import OptimWrapper
from mmengine.registry import OPTIM_WRAPPERS
from torch import nn

__all__ = ['AMP_CHOICES', 'Bf16OptimWrapper', 'set_amp']

AMP_CHOICES = ('auto', 'fp16', 'bf16')


@OPTIM_WRAPPERS.register_module()
class Bf16OptimWrapper(OptimWrapper):
    """Forward and loss under bfloat16 autocast, on CPU as on GPU, without a loss scaler.

    bfloat16 has float32's range, so gradients do not underflow and nothing needs scaling.
    mmengine's ``AmpOptimWrapper`` always scales and refuses CPUs.

    Args:
        **kwargs: as for mmengine's ``OptimWrapper`` (optimizer, clip_grad, accumulative_counts).
    """

    @contextmanager
    def optim_context(self, model: nn.Module):
        """Autocast around the forward pass, inside gradient accumulation's own context."""
        device_type = torch.device(get_device()).type
        with super().optim_context(model), torch.autocast(device_type, dtype=torch.bfloat16):
            yield


def set_amp(cfg: Config, choice: str) -> str:
    """Put the optimizer of ``cfg`` under mixed precision.

    Args:
        cfg: the whole config; ``cfg.optim_wrapper`` is changed in place.
        choice: 'fp16' (as in the paper's code), 'bf16', or 'auto': fp16 on a GPU, bf16 on a CPU
            and under FSDP2.

    Returns:
        The precision chosen, 'fp16' or 'bf16'.

    Raises:
        ValueError: an unknown choice, fp16 without a GPU or under FSDP2, or an optimizer wrapper of
            its own kind.
    """
    if choice not in AMP_CHOICES:
        raise ValueError(f"--amp '{choice}' is unknown; use one of {', '.join(AMP_CHOICES)}.")
    on_gpu = torch.cuda.is_available()
    in_parts = 'FSDP2' in str((cfg.get('model_wrapper_cfg') or {}).get('type'))
    if choice == 'auto':
        choice = 'fp16' if on_gpu and not in_parts else 'bf16'
    if choice == 'fp16' and in_parts:
        raise ValueError(
            "--amp fp16 under FSDP2: fp16's scaler has not been shown to find an overflow in the "
            'parts of other processes; use --amp bf16.'
        )
    if choice == 'fp16' and not on_gpu:
        raise ValueError('--amp fp16 needs a GPU; on a CPU use --amp bf16.')
    wrapper = cfg.optim_wrapper
    current = wrapper.get('type', 'OptimWrapper')
    if current not in ('OptimWrapper', 'AmpOptimWrapper', 'Bf16OptimWrapper'):
        raise ValueError(
            f"--amp cannot change optim_wrapper.type='{current}'; set its precision in the config."
        )
    for key in ('loss_scale', 'dtype', 'use_fsdp'):
        wrapper.pop(key, None)
    if choice == 'fp16':
        wrapper.update(type='mmengine.AmpOptimWrapper', loss_scale='dynamic', dtype='float16')
    else:
        wrapper.update(type='mmengine.Bf16OptimWrapper')
    return choice
