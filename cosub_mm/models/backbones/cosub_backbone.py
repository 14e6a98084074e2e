"""Any backbone of mmpretrain, mmseg or mmdet, built with efficient stochastic depth."""

from typing import Any

from mmpretrain.registry import MODELS
from torch import nn

from cosub_mm.stochastic_depth import apply_stochastic_depth, describe

__all__ = ['CosubBackbone']


@MODELS.register_module()
class CosubBackbone:
    """Builds the inner backbone itself, with stochastic depth applied.

    What comes out *is* the inner backbone: isinstance, ``state_dict`` keys, ``out_channels`` and
    ``get_layer_depth`` are its own, and so are its checkpoints.

    Args:
        backbone: config of the inner backbone. A type without scope is looked up in the scope of
            the config it stands in, then in mmpretrain's; from another library's scope prefix it,
            e.g. ``'mmpretrain.SwinTransformer'``.
        drop_path_rate: drop rate of all blocks, in [0, 1). None keeps the inner backbone's rates.
        schedule: ``'uniform'`` (the paper) or ``'linear'`` over depth.
        implementation: ``'auto'``, ``'subset'`` or ``'mask'``, see
            :func:`~cosub_mm.stochastic_depth.apply_stochastic_depth`.
        example_input: what the backbone is called with to search or prove its blocks; in a config
            its shape, e.g. ``(3, 3, 224, 224)``.
        find: ``'drop_path'``, or ``'all'``, which also finds blocks without a DropPath; see
            :func:`cosub_mm.stochastic_depth.apply_stochastic_depth`.

    Raises:
        ValueError: ``backbone`` is no config, or stochastic depth cannot be applied to it.

    Example::

        backbone = dict(
            type='mmpretrain.CosubBackbone',
            backbone=dict(type='mmpretrain.SwinTransformer', arch='tiny'),
            drop_path_rate=0.2,
        )
    """

    def __new__(
        cls,
        backbone: dict,
        drop_path_rate: float | None = None,
        schedule: str = 'uniform',
        implementation: str = 'auto',
        example_input: Any = None,
        find: str = 'drop_path',
    ) -> nn.Module:
        """Return the inner backbone."""
        if not isinstance(backbone, dict) or 'type' not in backbone:
            raise ValueError(
                f'backbone={backbone!r} must be the config of a backbone, a dict with `type`.'
            )
        model = MODELS.build(backbone)
        present = describe(model)
        asked = (drop_path_rate, schedule, implementation)
        if present is None or present.settings != asked or find != 'drop_path':
            apply_stochastic_depth(model, *asked, example_input, find)
        return model
