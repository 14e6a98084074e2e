"""Few parameter groups instead of one for each tensor."""

from collections.abc import Iterable

from mmengine.optim import DefaultOptimWrapperConstructor, OptimWrapper
from mmengine.registry import OPTIM_WRAPPER_CONSTRUCTORS
from torch import nn
from torch.optim import Optimizer

__all__ = ['MergedGroupsOptimWrapperConstructor', 'merge_groups', 'resume_single_groups']

# What mmengine copies from custom_keys into a group; lr and weight_decay hold what they lead to.
MULTIPLIERS = ('lr_mult', 'decay_mult')


@OPTIM_WRAPPER_CONSTRUCTORS.register_module(name='CosubMergedGroups')
class MergedGroupsOptimWrapperConstructor(DefaultOptimWrapperConstructor):
    """mmengine's default constructor, with parameters of equal settings in one group.

    mmengine makes a group of every tensor as soon as there is a ``paramwise_cfg``. Optimizers
    update a group at once (``foreach``, ``fused``), and gain nothing over groups of one. Learning
    rate and weight decay of each tensor stay what they are, and checkpoints of either resume.
    """

    def add_params(self, params: list[dict], module: nn.Module, prefix: str = '', **kwargs) -> None:
        """Fill ``params`` with the groups of ``module``."""
        if prefix:
            super().add_params(params, module, prefix=prefix, **kwargs)
            return
        single: list[dict] = []
        super().add_params(single, module, **kwargs)
        defaults = dict(lr=self.base_lr, weight_decay=self.base_wd)
        defaults = {key: value for key, value in defaults.items() if value is not None}
        for group in single:
            for key in MULTIPLIERS:
                group.pop(key, None)
            for key, value in defaults.items():
                group.setdefault(key, value)
        params.extend(merge_groups(single))

    def __call__(self, model: nn.Module) -> OptimWrapper:
        """Build the optimizer and its wrapper."""
        wrapper = super().__call__(model)
        resume_single_groups(wrapper.optimizer, model)
        return wrapper


def merge_groups(single: Iterable[dict]) -> list[dict]:
    """Join groups of equal settings; the order is that of their first members.

    Args:
        single: groups of parameters, ``names`` of them beside ``params`` or not.
    """
    merged: dict[tuple, dict] = {}
    for group in single:
        members = {key: group[key] for key in ('params', 'names') if key in group}
        settings = {key: value for key, value in group.items() if key not in members}
        key = tuple(sorted((name, repr(value)) for name, value in settings.items()))
        target = merged.setdefault(key, {**{name: [] for name in members}, **settings})
        for name, values in members.items():
            target[name] += values
    return list(merged.values())


def resume_single_groups(optimizer: Optimizer, model: nn.Module) -> None:
    """Let ``optimizer`` load checkpoints that have a group for each tensor of ``model``.

    Raises:
        ValueError: (on loading) the checkpoint has other groups, or tensors of one group had
            different settings.
    """
    if hasattr(model, 'module'):
        model = model.module
    # The order in which mmengine's constructor makes its groups.
    position = {id(p): i for i, p in enumerate(p for p in model.parameters() if p.requires_grad)}
    orders = [[position.get(id(p)) for p in group['params']] for group in optimizer.param_groups]

    def regroup(optimizer: Optimizer, state: dict) -> dict | None:
        saved = state['param_groups']
        if len(saved) == len(orders):
            return None
        known = len(saved) == len(position) == sum(map(len, orders))
        if not known or any(len(group['params']) != 1 for group in saved):
            raise ValueError(
                f'the optimizer of the checkpoint has {len(saved)} parameter groups, this one has '
                f'{len(orders)}: paramwise_cfg or the constructor are others. Take those that it '
                f'was trained with, or start a new run from its weights by load_from.'
            )
        groups = [_joined([saved[i] for i in order]) for order in orders]
        return {**state, 'param_groups': groups}

    optimizer.register_load_state_dict_pre_hook(regroup)


def _joined(groups: list[dict]) -> dict:
    """One group of several saved ones; their parameters keep their numbers."""
    plain = [{k: v for k, v in g.items() if k not in ('params', *MULTIPLIERS)} for g in groups]
    for other in plain:
        different = sorted(key for key in plain[0] if other.get(key) != plain[0][key])
        if different or other.keys() != plain[0].keys():
            key = different[0] if different else 'settings'
            raise ValueError(
                f'the checkpoint has a parameter group for each tensor, and tensors that are one '
                f'group now differ in {key} ({plain[0].get(key)} and {other.get(key)}): it cannot '
                f'be resumed with these settings. Take those that it was trained with, or start '
                f'a new run from its weights by load_from.'
            )
    return {**plain[0], 'params': [number for group in groups for number in group['params']]}
