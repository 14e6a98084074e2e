"""Placing and removing the module that ends a branch, and its hooks."""

from torch import nn

from ..rows.rule import is_convolutional
from ..step.module import StochasticDepth
from .table import Branch

__all__ = [
    'attach',
    'built_rate',
    'detach_all',
    'ends_of',
    'is_drop_path',
    'keeps_zero',
    'parent_of',
]


class MethodStart:
    """Shadows a method of one block with which a branch starts that has no module to start with."""

    def __init__(self, owner: nn.Module, name: str, end: StochasticDepth) -> None:
        self.owner, self.name, self.end = owner, name, end

    def __call__(self, *args, **kwargs):
        args = self.end.begin(self.owner, args) or args
        try:
            return getattr(type(self.owner), self.name)(self.owner, *args, **kwargs)
        finally:
            self.end.begun()


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


def attach(
    block: nn.Module,
    branch: Branch,
    rate: float | None,
    implementation: str,
    kept_rates: dict | None = None,
) -> StochasticDepth:
    """Make one branch stochastic.

    Args:
        block: the block; its modules at the ends of ``branch`` change.
        branch: where it starts and ends.
        rate: drop rate, or None for ``kept_rates`` and else what the block was built with.
        implementation: ``'auto'``, ``'subset'`` or ``'mask'``.
        kept_rates: rate by (id of the end's parent, its name there).

    Returns:
        The end of the branch, which branches may share.

    Raises:
        ValueError: the branch names a module that is not there, or ends at one that does more than
            dropping paths.
    """
    try:
        places = [parent_of(block, path) for path in (branch.end, *branch.inert)]
        originals = [getattr(*place) for place in places]
        start = None if branch.start is None else getattr(*parent_of(block, branch.start))
    except AttributeError as error:
        raise ValueError(f'{type(block).__name__} has no branch {branch}: {error}.') from None
    if branch.after:
        place = (block, f'drop_path_after_{branch.end.replace(".", "_")}')
        built = originals[1:]  # its DropPath stands elsewhere
    else:
        place, built = places[0], originals[:1]
    if rate is None:
        rate = _present_rate(place, built, kept_rates)
    if branch.after:
        end = _place_after(block, branch.end, place, originals[0], rate, implementation)
    else:
        end = _place(block, branch.end, place, rate, implementation)
    for path, inert in zip(branch.inert, places[1:]):
        _place(block, path, inert, 0.0, implementation)
    end.starts.append(branch.start)
    if isinstance(start, nn.Module):
        start.register_forward_pre_hook(end.begin)
        if start not in end.between:
            start.register_forward_hook(end.begun, always_call=True)
    elif start is not None:
        owner, name = parent_of(block, branch.start)
        setattr(owner, name, MethodStart(owner, name, end))
    return end


def _place(
    block: nn.Module, path: str, place: tuple[nn.Module, str], rate: float, implementation: str
) -> StochasticDepth:
    """The end at one place: the one that is there, or a new one in place of DropPath."""
    original = getattr(*place)
    if isinstance(original, StochasticDepth):
        return original
    _check_end(block, path, original)
    scale_by_keep = getattr(original, 'scale_by_keep', True)
    end = StochasticDepth(rate, implementation, scale_by_keep, is_convolutional(block))
    end.path, end.original = path, (original,)
    end.between = tuple(_on_the_way(block, path))
    return _put_end(block, place, end)


def _place_after(
    block: nn.Module,
    path: str,
    place: tuple[nn.Module, str],
    last: nn.Module,
    rate: float,
    implementation: str,
) -> StochasticDepth:
    """The end behind the module ``last``, which a hook of that module calls."""
    present = getattr(*place, None)
    if isinstance(present, StochasticDepth):
        return present
    end = StochasticDepth(rate, implementation, True, is_convolutional(block))
    end.path, end.between = path, (last,)
    last.register_forward_hook(end.finish)
    return _put_end(block, place, end)


def _on_the_way(block: nn.Module, path: str) -> list[nn.Module]:
    """Modules of ``block`` that hold ``path``, without the block."""
    names = path.split('.')[:-1]
    return [block.get_submodule('.'.join(names[: i + 1])) for i in range(len(names))]


def _put_end(
    block: nn.Module, place: tuple[nn.Module, str], end: StochasticDepth
) -> StochasticDepth:
    _put_child(*place, end, block.training)
    weight = next(block.parameters(), None)
    if weight is not None:
        end.to(weight.device)
    block.register_forward_pre_hook(end.reset)
    block.register_forward_hook(end.check)
    return end


def _present_rate(
    place: tuple[nn.Module, str], built: list[nn.Module | None], kept_rates: dict | None
) -> float:
    """Rate of a place: of the end that is there, of an earlier call, or as it was built."""
    parent, attribute = place
    present = getattr(parent, attribute, None)
    if isinstance(present, StochasticDepth):
        return present.base_rate
    as_built = max(map(built_rate, built), default=0.0)
    return (kept_rates or {}).get((id(parent), attribute), as_built)


def detach_all(model: nn.Module) -> None:
    """Put the original modules back and remove the hooks."""
    for module in list(model.modules()):
        for hooks in (module._forward_pre_hooks, module._forward_hooks):
            for key in [key for key, hook in hooks.items() if _is_ours(hook)]:
                del hooks[key]
                module._forward_hooks_always_called.pop(key, None)
        for name in [k for k, v in vars(module).items() if isinstance(v, MethodStart)]:
            delattr(module, name)
        for name, child in list(module._modules.items()):
            if isinstance(child, StochasticDepth) and child.original:
                _put_child(module, name, child.original[0], child.training)
            elif isinstance(child, StochasticDepth):
                del module._modules[name]


def _is_ours(hook) -> bool:
    return isinstance(getattr(hook, '__self__', None), StochasticDepth)


def _check_end(block: nn.Module, path: str, original: nn.Module | None) -> None:
    if getattr(original, 'mode', 'row') != 'row':
        raise ValueError(
            f"{type(block).__name__}: {path!r} drops whole batches (mode='batch'); only "
            f"mode='row', which drops samples, is supported."
        )
    harmless = original is None or isinstance(original, nn.Identity) or is_drop_path(original)
    if isinstance(original, nn.Dropout):
        harmless = original.p == 0
    if not harmless:
        raise ValueError(
            f'{type(block).__name__}: {path!r} is {original}, neither a DropPath nor an '
            f'Identity; replacing it would change the model. If the branch ends behind it, say so: '
            f'Branch(..., after=True).'
        )


def _put_child(parent: nn.Module, name: str, child: nn.Module | None, training: bool) -> None:
    if child is None:  # timm's convnets hold a plain None where the rate is 0
        del parent._modules[name]
        object.__setattr__(parent, name, None)
        return
    child.train(training)
    parent.__dict__.pop(name, None)
    parent._modules[name] = child
