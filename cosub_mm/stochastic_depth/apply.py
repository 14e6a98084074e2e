"""Put efficient stochastic depth into a model, and take it out again."""

from collections.abc import Iterator

from torch import nn

from .branches import Branch, branches_of
from .module import IMPLEMENTATIONS, StochasticDepth
from .schedule import block_rates

__all__ = ['apply_stochastic_depth', 'max_drop_rate', 'remove_stochastic_depth']


def apply_stochastic_depth(
    model: nn.Module,
    drop_rate: float | None = None,
    schedule: str = 'uniform',
    implementation: str = 'auto',
):
    """Let each residual branch of ``model`` compute the kept rows only (paper, section 4).

    Args:
        model: any module with residual blocks; it is changed in place.
        drop_rate: rate in [0, 1) for all blocks. None keeps the rates the model was built with.
        schedule: ``'uniform'`` or ``'linear'`` over depth.
        implementation: ``'subset'``, ``'mask'`` or ``'auto'``.
    """
    if implementation not in IMPLEMENTATIONS:
        raise ValueError(
            f'implementation={implementation!r} is unknown; choose from {IMPLEMENTATIONS}.'
        )
    block_rates(drop_rate or 0, 1, schedule)
    remove_stochastic_depth(model)
    blocks = [
        (name, module, branches)
        for name, module in model.named_modules()
        if (branches := branches_of(module)) is not None
    ]
    if not blocks:
        raise ValueError(f'No residual block of {type(model).__name__} is known.')
    rates = [None] * len(blocks)
    if drop_rate is not None:
        rates = block_rates(drop_rate, len(blocks), schedule)
    for (name, block, branches), rate in zip(blocks, rates):
        for branch in branches:
            _attach(name, block, branch, rate, implementation)


def remove_stochastic_depth(model: nn.Module) -> None:
    """Undo :func:`apply_stochastic_depth`: the original modules return, the hooks go."""
    for module in list(model.modules()):
        for hooks in (module._forward_pre_hooks, module._forward_hooks):
            for key in [k for k, hook in hooks.items() if _is_ours(hook)]:
                del hooks[key]
        for name, child in list(module._modules.items()):
            if isinstance(child, StochasticDepth):
                _put_child(module, name, child.original[0], child.training)


def max_drop_rate(model: nn.Module) -> float:
    """Largest stochastic depth rate in ``model``: of DropPath modules, replaced or not."""
    return max(_rates(model), default=0.0)


def _rates(model: nn.Module) -> Iterator[float]:
    for module in model.modules():
        if isinstance(module, StochasticDepth) or 'DropPath' in type(module).__name__:
            yield float(getattr(module, 'drop_prob', 0.0) or 0.0)


def _is_ours(hook) -> bool:
    return isinstance(getattr(hook, '__self__', None), StochasticDepth)


def _attach(
    name: str, block: nn.Module, branch: Branch, rate: float | None, implementation: str
) -> None:
    parent_path, _, attribute = branch.end.rpartition('.')
    parent = block.get_submodule(parent_path)
    original = getattr(parent, attribute)
    if isinstance(original, StochasticDepth):  # two branches share one DropPath
        end = original
    else:
        if rate is None:
            rate = getattr(original, 'drop_prob', 0.0) or 0.0
        end = StochasticDepth(rate, 'mask' if implementation == 'mask' else 'subset')
        end.block, end.path = name, branch.end
        end.original = (original,)
        _put_child(parent, attribute, end, block.training)
        block.register_forward_pre_hook(end.reset)
        block.register_forward_hook(end.check)
    block.get_submodule(branch.start).register_forward_pre_hook(end.begin)


def _put_child(parent: nn.Module, name: str, child: nn.Module | None, training: bool) -> None:
    if child is None:  # timm's convnets hold a plain None where the rate is 0
        delattr(parent, name)
    else:
        child.train(training)
    setattr(parent, name, child)
