"""Parameters and FLOPs of a config, counted on the meta device."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from mmengine.config import Config
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import MODELS, init_default_scope
from torch.overrides import TorchFunctionMode
from torch.utils.flop_counter import FlopCounterMode

from cosub_mm.model_hub import leave_teacher_out

__all__ = ['Complexity', 'complexity', 'default_shape', 'meta_device']


class Complexity(NamedTuple):
    """Cost of a model.

    Attributes:
        params: trained parameters, auxiliary heads included.
        flops: multiply-adds of a prediction for one image.
        flops_without_attention: the same without products of two activations, which many tools
            do not count and Table 13 of the paper leaves out.
    """

    params: int
    flops: int
    flops_without_attention: int


def complexity(cfg: Config, shape: tuple[int, int]) -> Complexity:
    """Count parameters and FLOPs without weights, on any machine.

    Args:
        cfg: config of a classifier or segmentor.
        shape: height and width of the input in pixels.
    """
    init_default_scope(cfg.get('default_scope', 'mmpretrain'))
    model_cfg = cfg.model.copy()
    model_cfg.pop('train_cfg', None)
    leave_teacher_out(model_cfg)
    with meta_device():
        model = revert_sync_batchnorm(MODELS.build(model_cfg)).eval()
        image = torch.empty(1, 3, *shape)
    params = sum(p.numel() for p in model.parameters() if p.requires_grad)
    # The counter hooks gradients, which a bare parameter passed between modules has none of.
    model.requires_grad_(False)
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        model(image, mode='tensor')
    total = counter.get_total_flops()
    counts = counter.get_flop_counts()['Global']
    products = sum(count for op, count in counts.items() if _is_product_of_activations(str(op)))
    return Complexity(
        params=params,
        # torch counts a multiply-add as two operations, the papers as one
        flops=total // 2,
        flops_without_attention=(total - products) // 2,
    )


@contextmanager
def meta_device() -> Iterator[None]:
    """Build models on torch's meta device: shapes without memory."""
    with torch.device('meta'), _ReadableLinspace():
        yield


def default_shape(cfg: Config) -> tuple[int, int]:
    """Input size by which the paper counts FLOPs.

    Returns:
        ``img_size`` of a classifier's backbone, 224 if it has none. For a segmentor the crop by
        four times the crop: a short side of 512 gives 512 by 2048 (Table 13).
    """
    size = cfg.model.get('data_preprocessor', {}).get('size')
    if cfg.get('default_scope') == 'mmseg':
        if size is None:
            raise ValueError('The segmentor has no data_preprocessor.size; give --shape H W.')
        return size[0], 4 * size[1]
    side = cfg.model.backbone.get('img_size', 224)
    return (side, side) if isinstance(side, int) else tuple(side)


class _ReadableLinspace(TorchFunctionMode):
    """Constructors of backbones read drop rates from a linspace, which the meta device has not."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func is torch.linspace:
            kwargs['device'] = 'cpu'
        return func(*args, **kwargs)


def _is_product_of_activations(op: str) -> bool:
    return op.startswith(('aten.bmm', 'aten.baddbmm')) or 'attention' in op
