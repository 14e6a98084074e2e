"""DropPath modules, ours and those of other libraries."""

from torch import nn

from cosub_mm.stochastic_depth.step.module import StochasticDepth

from .table import Branch, branches_of

__all__ = ['built_rate', 'ends_of', 'is_drop_path', 'keeps_zero', 'max_drop_rate', 'parent_of']


def is_drop_path(module: nn.Module | None) -> bool:
    """Whether a module is some library's DropPath: timm's, mmcv's, torchvision's, one's own."""
    if module is None or isinstance(module, StochasticDepth):
        return False
    name = type(module).__name__.lower()
    named_so = 'droppath' in name or name == 'stochasticdepth'
    return named_so and not [*module.parameters(), *module.children()]


def ends_of(model: nn.Module) -> list[StochasticDepth]:
    """Every end of a branch in ``model``."""
    return [module for module in model.modules() if isinstance(module, StochasticDepth)]


def parent_of(block: nn.Module, path: str) -> tuple[nn.Module, str]:
    """Module that holds ``path`` directly, and the attribute's name there."""
    parent_path, _, attribute = path.rpartition('.')
    return block.get_submodule(parent_path), attribute


def built_rate(module: nn.Module | None) -> float:
    """Rate that a DropPath was built with; 0 for an Identity or None in its place."""
    if not is_drop_path(module):
        return 0.0
    rate = getattr(module, 'drop_prob', None)
    return float((getattr(module, 'p', None) if rate is None else rate) or 0.0)


def keeps_zero(block: nn.Module, branch: Branch) -> bool:
    """Whether ``branch`` is one that nobody drops, in a block that was built so."""
    if not branch.undropped:
        return False
    places = [parent_of(block, path) for path in (branch.end, *branch.inert)]
    return not any(built_rate(getattr(*place, None)) for place in places)


def max_drop_rate(model: nn.Module) -> float:
    """Largest stochastic depth rate in ``model``: of DropPaths, replaced or not, and blocks."""
    rates = [
        module.drop_prob if isinstance(module, StochasticDepth) else built_rate(module)
        for module in model.modules()
    ]
    rates += [
        getattr(module, branch.own_rate)
        for module in model.modules()
        for branch in branches_of(module) or ()
        if branch.own_rate
    ]
    return float(max(rates, default=0.0))
