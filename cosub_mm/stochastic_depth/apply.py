"""Put efficient stochastic depth into a model, and take it out again."""

from typing import Any, NamedTuple

from torch import nn

from .arguments import check_arguments, check_blocks, check_model, check_starts, warn_of_zero
from .collect import collect
from .places.attach import attach, detach_all, draw_at_once
from .places.drop_path import ends_of, keeps_zero
from .places.table import (
    Branch,
    branches_of,
    class_name,
    has_other_forward,
    has_shortcut,
    is_registered,
    is_sequence_first,
)
from .report import Report, describe
from .rows.schedule import block_rates
from .savings.regather import regather_for_backward
from .search.find import unnamed_places
from .search.registered import prove_at_first_input, prove_on_example
from .step.counts import Counts
from .step.module import Place, StochasticDepth
from .step.plan import Draws
from .step.shadow import Shadow

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
    find: str = 'drop_path',
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
        find: which blocks are searched beside those of the table: ``'drop_path'``, those with a
            DropPath; ``'all'`` also those that add to their stream without one, ``x + f(x)``.

    Returns:
        The report, which prints as a table. The same call a second time changes nothing; one with
        other arguments replaces the first.

    Raises:
        TypeError: a model that is none, a rate that is no number.
        ValueError: bad arguments; no residual branch found; one block, or one first module of a
            branch, under two names.
        UnknownBlockError: a branch that is neither in the table nor found and proven, that is not
            what it is registered as (here, or in the first forward pass), or a block that nothing
            can be done about.
    """
    check_model(model)
    check_arguments(drop_rate, schedule, implementation, find)
    check_blocks(model, drop_rate)
    settings = Settings(drop_rate, schedule, implementation)
    if _is_applied(model, settings, find):
        return describe(model)
    rates = _present_rates(model) if drop_rate is None else {}
    remove_stochastic_depth(model)
    try:
        named, skipped = collect(model, implementation, example_input, find)
        registered = _to_prove(named, settings)
        if registered and example_input is not None:
            prove_on_example(model, registered, example_input)
        _attach_all(model, named, settings, rates, tuple(skipped.items()), find)
        check_starts(model)
        if example_input is None:
            prove_at_first_input(registered)
    except Exception:
        detach_all(model)
        raise
    report = describe(model)
    warn_of_zero(model, report)
    return report


def remove_stochastic_depth(model: nn.Module) -> None:
    """Undo :func:`apply_stochastic_depth`: the original modules return, the hooks go.

    A model without stochastic depth stays as it is.
    """
    detach_all(model)


def _is_applied(model: nn.Module, settings: Settings, find: str) -> bool:
    """Whether the same call has been made, and no block has come or gone since."""
    ends = [end for end in ends_of(model) if end.place.starts]
    if not ends or any(end.place.settings != tuple(settings) for end in ends):
        return False
    if find == 'all' and any(end.place.find != 'all' for end in ends):
        return False
    shadows = [hook for end in ends for hook in end.hooks if isinstance(hook, Shadow)]
    if not all(shadow.bare for shadow in shadows):
        return False
    if any(end.standing() is not end or end.place.table != _named(end.home[0]) for end in ends):
        return False
    have = {id(end.home[0]) for end in ends}
    blocks = [(block, branches) for block in model.modules() if (branches := _named(block))]
    without = {name for end in ends for name, _ in end.place.skipped}
    return all(place.name in without for place in unnamed_places(model, blocks)) and all(
        id(block) in have or not any(has_shortcut(block, branch) for branch in branches)
        for block, branches in blocks
    )


def _named(block: nn.Module) -> tuple[Branch, ...] | None:
    """Its branches as the table has them now."""
    return None if is_sequence_first(block) else branches_of(block)


def _attach_all(
    model: nn.Module,
    blocks: list,
    settings: Settings,
    rates: dict[tuple[int, str], float],
    skipped: tuple,
    find: str,
) -> None:
    kept = {
        (name, branch): settings.drop_rate is not None and keeps_zero(block, branch)
        for name, block, branches, _ in blocks
        for branch in branches
    }
    scheduled = _scheduled(blocks, settings, kept)
    counts, draws = Counts(), Draws()
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
                find=find,
                table=_named(block),
            ),
            rates,
            counts,
            SAVING,
            draws,
        )
    draw_at_once(model, draws)


def _to_prove(blocks: list, settings: Settings) -> list[tuple[str, nn.Module, tuple[Branch, ...]]]:
    """Blocks that compute fewer rows on nothing but somebody's word."""
    if settings.implementation == 'mask':
        return []
    return [
        (name, block, branches)
        for name, block, branches, found in blocks
        if not found
        and (is_registered(block) or has_other_forward(block))
        and any(b.start is not None for b in branches)
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
