"""Layer-wise learning-rate decay for classifiers and segmentors."""

from collections import defaultdict

from mmengine.logging import MMLogger
from mmengine.optim import DefaultOptimWrapperConstructor, OptimWrapper
from mmengine.registry import OPTIM_WRAPPER_CONSTRUCTORS
from torch import nn

from cosub_mm.architectures.layer_depths import layer_depths

from .param_groups import merge_groups, resume_single_groups

__all__ = ['LayerDecayOptimWrapperConstructor']


@OPTIM_WRAPPER_CONSTRUCTORS.register_module(name='CosubLayerDecay')
class LayerDecayOptimWrapperConstructor(DefaultOptimWrapperConstructor):
    """Learning rates that shrink by a constant factor from each layer to the one before it.

    The paper fine-tunes so from ImageNet-21k to ImageNet-1k (section 5.1, Table 10). A parameter at
    depth ``i`` of ``n`` learns at ``lr * layer_decay_rate ** (n - i)``: the head has the full rate,
    the last block one factor less, the stem least. What a layer is, :mod:`.layer_groups` says.

    ``paramwise_cfg`` takes ``layer_decay_rate`` in (0, 1] beside the keys of mmengine's default
    constructor (``norm_decay_mult``, ``bias_decay_mult``, ``flat_decay_mult``, ``custom_keys``);
    their learning-rate factors multiply with the layer's. Parameters of equal settings share a
    group. A schedule must scale every group alike: give it ``eta_min_ratio``, not ``eta_min``.

    Raises:
        ValueError: ``layer_decay_rate`` missing or outside (0, 1], an optimizer without ``lr``, or
            a backbone whose layers are unknown.

    Example:
        >>> optim_wrapper = dict(
        ...     optimizer=dict(type='AdamW', lr=3e-4, weight_decay=0.05),
        ...     constructor='mmpretrain.CosubLayerDecay',
        ...     paramwise_cfg=dict(layer_decay_rate=0.75, flat_decay_mult=0.0),
        ... )
    """

    def _validate_cfg(self) -> None:
        super()._validate_cfg()
        rate = self.paramwise_cfg.get('layer_decay_rate')
        if not isinstance(rate, int | float) or not 0 < rate <= 1:
            raise ValueError(
                f'paramwise_cfg.layer_decay_rate={rate!r} must be a number in (0, 1]; .65 to .9 is '
                f'usual, 1 turns layer decay off.'
            )
        if self.base_lr is None:
            raise ValueError('Layer decay scales a learning rate, but the optimizer has no lr.')

    def add_params(self, params: list[dict], module: nn.Module, prefix: str = '', **kwargs) -> None:
        """Fill ``params`` with the groups of ``module``, one for each layer and weight decay."""
        if prefix:
            super().add_params(params, module, prefix=prefix, **kwargs)
            return
        single: list[dict] = []
        super().add_params(single, module, **kwargs)
        depths, head = _model_depths(module)
        names = {id(param): name for name, param in module.named_parameters()}
        for group in single:
            self._scale(group, names[id(group['params'][0])], depths, head)
        single.sort(key=lambda group: group['layer'])
        merged = merge_groups(single)
        MMLogger.get_current_instance().info(_table(merged, head))
        for group in merged:
            del group['names']  # the optimizer would store them in every checkpoint
        params.extend(merged)

    def __call__(self, model: nn.Module) -> OptimWrapper:
        """Build the optimizer and its wrapper."""
        wrapper = super().__call__(model)
        resume_single_groups(wrapper.optimizer, model)
        return wrapper

    def _scale(self, group: dict, name: str, depths: dict[str, int], head: int) -> None:
        depth = depths.get(name, head)
        scale = self.paramwise_cfg['layer_decay_rate'] ** (head - depth)
        group['layer'] = depth
        group['lr_scale'] = scale
        group['lr'] = group.get('lr', self.base_lr) * scale
        if self.base_wd is not None:
            group.setdefault('weight_decay', self.base_wd)
        group['names'] = [name]


def _model_depths(model: nn.Module) -> tuple[dict[str, int], int]:
    """Depths by full parameter name; a model without a ``backbone`` is one itself."""
    backbone = getattr(model, 'backbone', None)
    if backbone is None:
        return layer_depths(model)
    depths, head = layer_depths(backbone)
    # Of two models trained together the second is a part of the first, `peer`.
    places = ('backbone.', 'peer.backbone.')
    return {f'{place}{name}': depth for place in places for name, depth in depths.items()}, head


def _table(groups: list[dict], head: int) -> str:
    """One line a layer: learning rate, weight decays, number of tensors and values, an example."""
    layers = defaultdict(list)
    for group in groups:
        layers[group['layer']].append(group)
    lines = ['Layer decay:', 'layer  lr scale  lr         weight decay  tensors     values  first']
    for depth, members in sorted(layers.items()):
        tensors = [param for group in members for param in group['params']]
        rates = ', '.join(f'{lr:.3g}' for lr in sorted({g['lr'] for g in members}))
        decays = ', '.join(
            sorted({f'{g["weight_decay"]:.3g}' for g in members if 'weight_decay' in g})
        )
        label = 'head' if depth == head else 'stem' if depth == 0 else str(depth)
        lines.append(
            f'{label:<5}  {members[0]["lr_scale"]:<8.4g}  {rates:<9}  {decays:<12}  '
            f'{len(tensors):>7}  {sum(p.numel() for p in tensors):>9}  '
            f'{members[0]["names"][0]}'
        )
    return '\n'.join(lines)
