"""Put efficient stochastic depth into a model, and take it out again."""

from typing import Any, NamedTuple

from torch import nn

from .places.attach import attach, detach_all
from .places.drop_path import ends_of, keeps_zero
from .places.sides import with_sides
from .places.table import (
    Branch,
    branches_of,
    class_name,
    has_shortcut,
    is_registered,
    refusal_of,
)
from .report import Report, describe
from .rows.rule import IMPLEMENTATIONS
from .rows.schedule import block_rates
from .savings.regather import regather_for_backward
from .search.find import UnknownBlockError, drop_path_slots, find_branches, unnamed_places
from .search.registered import prove_at_first_input, prove_on_example
from .step.counts import Counts
from .step.module import Place, StochasticDepth

__all__ = [
    'apply_stochastic_depth',
    'remove_stochastic_depth',
]


SAVING = regather_for_backward
"""What may spare bytes where a branch starts; None changes no value."""


class Settings(NamedTuple):
    """The arguments of the call that put stochastic depth into a model."""

    drop_rate: float | None
    schedule: str
    implementation: str


def apply_stochastic_depth(
    model: nn.Module,
    drop_rate: float | None = None,
    schedule: str = 'uniform',
    implementation: str = 'auto',
    example_input: Any = None,
) -> Report:
    """Let each residual branch of ``model`` compute the kept rows only (paper, section 4).

    The model is changed in place: hooks gather the kept rows where a branch starts, and the module
    in DropPath's place puts them back. Parameters, ``state_dict`` keys and evaluation stay. Blocks
    that the table does not name are searched on an example input, and what is found is proven:
    subset and mask must agree in float64, outputs and gradients. What :func:`register_block` was
    told is proven, too: on ``example_input``, or when the block first runs in training.

    Args:
        model: any module with residual blocks of timm, mmpretrain or one's own.
        drop_rate: rate in [0, 1) for all blocks, also those that a linear schedule built with 0.
            Branches that their authors never drop (class attention) keep 0: see
            :attr:`Branch.undropped`. None keeps each rate.
        schedule: ``'uniform'`` (the paper) or ``'linear'``, from 0 to ``drop_rate`` over depth.
        implementation: ``'subset'`` computes the kept rows, ``'mask'`` all rows and multiplies the
            dropped ones by 0, ``'auto'`` takes the faster one (:mod:`.rule`).
        example_input: what ``model`` is called with to search blocks that the table does not name:
            a tensor (N, ...), its shape, or a tuple of arguments. Guessed for image models.

    Returns:
        The report, which prints as a table. The same call a second time changes nothing; one with
        other arguments replaces the first.

    Raises:
        ValueError: bad arguments; no residual branch found; one block under two names.
        UnknownBlockError: a branch that is neither in the table nor found and proven, that is not
            what it is registered as (here, or in the first forward pass), or a block that nothing
            can be done about.
    """
    settings = Settings(drop_rate, schedule, implementation)
    _check(model, settings)
    if _is_applied(model, settings):
        return describe(model)
    rates = _present_rates(model) if drop_rate is None else {}
    remove_stochastic_depth(model)
    try:
        named, skipped = _collect(model, settings, example_input)
        if not named:
            raise ValueError(_nothing_found(model, skipped))
        registered = _to_prove(named, settings)
        if registered and example_input is not None:
            prove_on_example(model, registered, example_input)
        _attach_all(named, settings, rates, tuple(skipped.items()))
        if example_input is None:
            prove_at_first_input(registered)
    except Exception:
        detach_all(model)
        raise
    return describe(model)


def remove_stochastic_depth(model: nn.Module) -> None:
    """Undo :func:`apply_stochastic_depth`: the original modules return, the hooks go.

    A model without stochastic depth stays as it is.
    """
    detach_all(model)


def _check(model: nn.Module, settings: Settings) -> None:
    if settings.implementation not in IMPLEMENTATIONS:
        raise ValueError(
            f'implementation={settings.implementation!r} is unknown; choose from {IMPLEMENTATIONS}.'
        )
    block_rates(0.0 if settings.drop_rate is None else settings.drop_rate, 1, settings.schedule)
    _check_refused(model)
    _check_shared_blocks(model)


def _is_applied(model: nn.Module, settings: Settings) -> bool:
    """Whether the same call has been made, and no block has come or gone since."""
    ends = [end for end in ends_of(model) if end.place.starts]
    if not ends or any(end.place.settings != tuple(settings) for end in ends):
        return False
    have = {id(end.home[0]) for end in ends}
    blocks = [module for module in model.modules() if branches_of(module) is not None]
    return all(end.standing() is end for end in ends) and all(
        id(block) in have or not any(has_shortcut(block, b) for b in branches_of(block))
        for block in blocks
    )


def _check_refused(model: nn.Module) -> None:
    for name, module in model.named_modules():
        reason = refusal_of(module)
        if reason is not None:
            raise UnknownBlockError(
                f'{name or "The model"} ({class_name(type(module))}) cannot have stochastic depth: '
                f'{reason}. No registration helps; leave it to the drop path rate that it is built '
                f'with.'
            )


def _check_shared_blocks(model: nn.Module) -> None:
    first: dict[int, str] = {}
    for name, module in model.named_modules(remove_duplicate=False):
        if branches_of(module) is None and not drop_path_slots(module):
            continue
        if id(module) in first:
            raise ValueError(
                f'{first[id(module)]!r} and {name!r} are the same block. Its rate and its rows '
                f'would be ambiguous: give each place a block of its own (copy.deepcopy).'
            )
        first[id(module)] = name


def _collect(
    model: nn.Module, settings: Settings, example_input: Any
) -> tuple[list[tuple[str, nn.Module, tuple[Branch, ...], bool]], dict[str, str]]:
    """All blocks with their branches, named by the table or found, in the model's order."""
    blocks = {
        name: (module, branches, False)
        for name, module in model.named_modules()
        if (branches := branches_of(module)) is not None
    }
    places = unnamed_places(model, [(module, branches) for module, branches, _ in blocks.values()])
    skipped = _leave_out_without_shortcut(blocks)
    if places:
        must_find = settings.implementation != 'mask'
        found, without_residual = find_branches(model, places, example_input, must_find)
        skipped.update(without_residual)
        for name, (module, branches) in found.items():
            blocks[name] = (
                module,
                blocks[name][1] + branches if name in blocks else branches,
                True,
            )
    order = [name for name, _ in model.named_modules()]
    return [
        (name, block, with_sides(model, name, branches), found)
        for name in sorted(blocks, key=order.index)
        for block, branches, found in (blocks[name],)
    ], skipped


def _leave_out_without_shortcut(blocks: dict[str, tuple]) -> dict[str, str]:
    """Take branches that are added to nothing out of ``blocks``; returns them, with the reason."""
    skipped = {}
    for name, (block, branches, found) in list(blocks.items()):
        kept = tuple(branch for branch in branches if has_shortcut(block, branch))
        for branch in branches:
            if branch not in kept:
                reason = f'the block has no shortcut ({branch.shortcut} is None)'
                skipped[f'{name}.{branch.end}'] = reason
        if kept:
            blocks[name] = (block, kept, found)
        else:
            del blocks[name]
    return skipped


def _attach_all(
    blocks: list, settings: Settings, rates: dict[tuple[int, str], float], skipped: tuple
) -> None:
    kept = {
        (name, branch): settings.drop_rate is not None and keeps_zero(block, branch)
        for name, block, branches, _ in blocks
        for branch in branches
    }
    scheduled = _scheduled(blocks, settings, kept)
    counts = Counts()
    weight = next((p for _, block, *_ in blocks for p in block.parameters()), None)
    if weight is not None:
        counts.move(lambda x: x.to(weight.device))
    for name, block, branches, found in blocks:
        attach(
            block,
            [(b, 0.0 if kept[name, b] else scheduled.get(name)) for b in branches],
            settings.implementation,
            Place(
                name,
                class_name(type(block)),
                found=found,
                settings=tuple(settings),
                skipped=skipped,
            ),
            rates,
            counts,
            SAVING,
        )


def _to_prove(blocks: list, settings: Settings) -> list[tuple[str, nn.Module, tuple[Branch, ...]]]:
    """Blocks that compute fewer rows on nothing but somebody's word."""
    if settings.implementation == 'mask':
        return []
    return [
        (name, block, branches)
        for name, block, branches, found in blocks
        if not found and is_registered(block) and any(b.start is not None for b in branches)
    ]


def _scheduled(blocks: list, settings: Settings, kept: dict) -> dict[str, float]:
    """Rates by block, over the depth of those blocks that have a branch to drop."""
    if settings.drop_rate is None:
        return {}
    names = [name for name, _, branches, _ in blocks if not all(kept[name, b] for b in branches)]
    return dict(zip(names, block_rates(settings.drop_rate, len(names), settings.schedule)))


def _present_rates(model: nn.Module) -> dict[tuple[int, str], float]:
    """Rates that an earlier call gave, by place."""
    return {
        (id(module), name): child.base_rate
        for module in model.modules()
        for name, child in module.named_children()
        if isinstance(child, StochasticDepth)
    }


def _nothing_found(model: nn.Module, skipped: dict[str, str]) -> str:
    said = f' Places that look like DropPath: {skipped}.' if skipped else ''
    return (
        f'No residual branch was found in {type(model).__name__}: it has no DropPath, and the '
        f'table names none of its blocks, so nothing would be dropped.{said} Name the branches '
        f'with cosub_mm.stochastic_depth.register_block(BlockClass, Branch(start, end)); where '
        f'nothing stands in the place of DropPath, name the last module of the branch: '
        f'Branch(start, last, after=True).'
    )
