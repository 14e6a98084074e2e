"""What is said where branches were not found: the block, what is missing, lines to copy."""

from collections import Counter
from typing import Any

from torch import nn

from cosub_mm.stochastic_depth.places.table import class_name, owner_of_forward

from .propose import Proposals, lines_to_copy, propose

__all__ = ['not_proven', 'nothing_found', 'problem_text', 'repeated_block']


def nothing_found(model: nn.Module, skipped: dict[str, str], example_input: Any) -> str:
    """The sentence, with the lines that register the blocks where their additions tell them."""
    name = type(model).__name__
    said = f' Places that look like DropPath: {skipped}.' if skipped else ''
    text = (
        f'No residual branch was found in {name}: it has no DropPath, and the table names none of '
        f'its blocks, so nothing would be dropped.{said}'
    )
    try:
        proposals = propose(model, example_input, set())
    except Exception as error:  # the model does not run on the example that was guessed
        proposals = Proposals({}, {}, {})
        text += (
            f' It could not be searched for additions to its stream either: on the example, it '
            f'fails with {type(error).__name__}: {str(error)[:200]}. Give example_input=... what '
            f'the model takes.'
        )
    if proposals.found:
        kinds = Counter(class_name(type(block)) for block, _ in proposals.found.values())
        seen = ', '.join(f'{kind} ({count} times)' for kind, count in kinds.items())
        return (
            f'{text} But branches without a DropPath were found and proven in {seen}. Call '
            f"apply_stochastic_depth(..., find='all'), or register them:\n\n"
            f'{lines_to_copy(proposals)}\n'
        )
    telling = sorted(proposals.problems.values(), key=lambda p: p[1].startswith('nothing is added'))
    for block, reason in telling:
        text += f' {problem_text(block, reason)}.'
        break
    repeated = repeated_block(model)
    cls = 'BlockClass' if repeated is None else owner_of_forward(repeated[0]).__qualname__
    if repeated is not None:
        text += (
            f' Its repeated block is {class_name(repeated[0])} ({repeated[1]} times), in which no '
            f'branch is known to start and end.'
        )
    return (
        f'{text} Name the branches with cosub_mm.stochastic_depth.register_block({cls}, '
        f'Branch(start, end)); where nothing stands in the place of DropPath, name the last module '
        f'of the branch: Branch(start, last, after=True).'
    )


def not_proven(name: str, block: nn.Module, end: str, reason: str) -> str:
    """The sentence on a DropPath whose branch has no start that could be proven."""
    cls = owner_of_forward(type(block))
    return (
        f'Block {name!r} ({class_name(cls)}): no start of the residual branch that '
        f'ends at {end!r} could be proven; {reason}. Register the block:\n\n'
        f'    from {cls.__module__} import {cls.__qualname__}\n'
        f'    from cosub_mm.stochastic_depth import Branch, register_block\n\n'
        f'    register_block(\n'
        f'        {cls.__qualname__},\n'
        f'        # start: the first module that works on the branch; None: compute all rows and '
        f'mask\n'
        f'        Branch(start=None, end={end!r}),\n'
        f"        # ... one Branch for each of the block's residual branches, in order\n"
        f'    )\n\n'
        f"or use implementation='mask', which masks what it cannot prove."
    )


def problem_text(block: nn.Module, reason: str) -> str:
    """Why nothing of a block is dropped."""
    return f'{class_name(type(block))}: {reason}'


def repeated_block(model: nn.Module) -> tuple[type, int] | None:
    """The class that holds most parameters among those of which there are several, and how many."""
    counts: Counter = Counter()
    sizes: Counter = Counter()
    for module in model.modules():
        cls = type(module)
        if next(module.children(), None) is None or cls.__module__.startswith('torch.nn.'):
            continue
        counts[cls] += 1
        sizes[cls] += sum(p.numel() for p in module.parameters())
    several = [cls for cls in counts if counts[cls] > 1]
    best = max(several, key=sizes.__getitem__, default=None)
    return None if best is None else (best, counts[best])
