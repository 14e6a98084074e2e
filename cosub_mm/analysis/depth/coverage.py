"""Try stochastic depth on many models, and write down what became of each."""

import gc
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import nn

from cosub_mm.stochastic_depth.step.compare import use_float64

from .equality import TOLERANCE, compare_implementations
from .oracles import block_flops_share, half_covered, shortcuts_alone
from .timm_models import BATCH, Candidate

__all__ = ['Verdict', 'coverage_table', 'explain_equality', 'judge', 'judge_all', 'read_tables']


@dataclass(frozen=True)
class Verdict:
    """What became of one family.

    Attributes:
        family: module of timm, or class of mmpretrain.
        model: the one tried, empty where none takes a drop path rate.
        status: ``'handled'``, ``'refused'``, ``'half covered'``, ``'wrong'``, ``'no drop path'`` or
            ``'not run'``.
        note: how, or why not.
    """

    family: str
    model: str
    status: str
    note: str


def judge(candidate: Candidate, with_oracles: bool = False) -> Verdict:
    """Apply stochastic depth to a model and compare subset with mask in float64.

    Args:
        candidate: the model.
        with_oracles: also drop all rows, and count the FLOPs of a step.
    """
    try:
        torch.manual_seed(0)
        model, x = _build(candidate)
    except Exception as error:  # a model that fails untouched says nothing about us
        return Verdict(candidate.family, candidate.model, 'not run', _first_sentence(error))
    try:
        comparison = compare_implementations(model, x)
    except ValueError as error:
        return Verdict(candidate.family, candidate.model, 'refused', _first_sentence(error))
    except Exception as error:  # what the model does with fewer rows must not end the table
        note = f'{type(error).__name__}: {_first_sentence(error)}'
        return Verdict(candidate.family, candidate.model, 'wrong', note)
    note = _describe(comparison.report)
    left = half_covered(model, x, comparison.report)
    if left and not with_oracles:  # its authors place DropPaths, and leave position encodings out
        note += f'; {len(left)} additions without a DropPath are not dropped'
    elif left:
        note = f'{", ".join(left)} of the stream are not covered; {note}'
        return Verdict(candidate.family, candidate.model, 'half covered', note)
    if with_oracles:
        shortcuts = shortcuts_alone(model, x, example_input=x)
        share = block_flops_share(model, x, example_input=x)
        note += (
            f'; all dropped: {shortcuts.identities} of {shortcuts.blocks} blocks are the identity'
            f'; FLOPs of the blocks at .5: {share:.2f}'
        )
        if not shortcuts.right:
            note = f'with all rows dropped, branches are not gone; {note}'
            return Verdict(candidate.family, candidate.model, 'wrong', note)
    if not comparison.equal:
        note = (
            f'difference {comparison.error:.0e}, effect {comparison.effect:.0e}, evaluation '
            f'{"kept" if comparison.evaluation_kept else "changed"}; {note}'
        )
    status = 'handled' if comparison.equal else 'wrong'
    return Verdict(candidate.family, candidate.model, status, note)


def judge_all(
    candidates: Iterable[Candidate | str], only: set[str], with_oracles: bool = False
) -> Iterator[Verdict]:
    """Verdicts on all candidates, or on the families in ``only`` if there are any."""
    for candidate in candidates:
        family = candidate if isinstance(candidate, str) else candidate.family
        if only and family not in only:
            continue
        start = time.perf_counter()
        verdict = _without(family) if isinstance(candidate, str) else judge(candidate, with_oracles)
        seconds = time.perf_counter() - start
        print(
            f'{family:<34} {verdict.status:<13}{seconds:5.1f} s  {verdict.model}: {verdict.note}',
            flush=True,
        )
        yield verdict
        gc.collect()


def coverage_table(title: str, verdicts: list[Verdict]) -> str:
    """A section of markdown: the count, the table, and the families without drop path."""
    tried = [v for v in verdicts if v.status != 'no drop path']
    without = [f'`{v.family}`' for v in verdicts if v.status == 'no drop path']
    handled = sum(v.status == 'handled' for v in tried)
    lines = [f'## {title}', '', f'{handled} of {len(tried)} tried: handled.']
    for status in ('refused', 'half covered', 'wrong', 'not run'):
        named = [f'`{v.family}`' for v in tried if v.status == status]
        if named:
            lines.append(f'{status.capitalize()}: {", ".join(named)}.')
    lines += ['', '| family | model | result | branches |', '|---|---|---|---|']
    lines += [
        f'| {v.family} | {v.model} | {v.status} | {v.note.replace("|", "/")} |' for v in tried
    ]
    if without:
        lines += ['', f'Without drop path rate: {", ".join(without)}.']
    return '\n'.join(lines)


def read_tables(text: str) -> dict[str, list[Verdict]]:
    """Verdicts in a document of :func:`coverage_table` sections, by the library's name."""
    tables: dict[str, list[Verdict]] = {}
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip('|').split('|')]
        if line.startswith('## '):
            current = tables.setdefault(line.split()[1], [])
        elif line.startswith('| ') and len(cells) == 4 and cells[0] != 'family':
            current.append(Verdict(*cells))
        elif line.startswith('Without drop path rate: '):
            current += [_without(family) for family in line.split('`')[1::2]]
    return tables


def _without(family: str) -> Verdict:
    return Verdict(family, '', 'no drop path', 'takes no drop path rate')


def explain_equality() -> str:
    """What ``handled`` means, in a paragraph."""
    return (
        f'*Handled* is proven on the whole model, with random weights and a small input, in '
        f'float64: with the same kept rows, subset and mask agree on outputs and on the gradients '
        f'of the input and of every parameter (relative difference at most {TOLERANCE:g}); '
        f'dropping changes the output; evaluation is bit-identical before, with and after. '
        f'*Refused*: `apply_stochastic_depth` raises and names the block, the reason and how to '
        f'register it. *Masked* branches drop as DropPath does, without saving. No row is *half '
        f'covered*: no addition to the stream within a block is left without a branch; where the '
        f'authors placed DropPaths (timm, mmpretrain, mmseg), their choice is kept, and additions '
        f'that they left out (position encodings) are counted in the row. Elsewhere also: *all '
        f'dropped*: at a rate of .9999 a block hands on exactly what it is given, or, where its '
        f'shortcut is projected or its sum normed, no branch gets a gradient. *FLOPs of the blocks '
        f"at .5*: of a training step, over those without drop, by torch's counter (a projected "
        f'shortcut keeps its own).'
    )


def _build(candidate: Candidate) -> tuple[nn.Module, torch.Tensor]:
    """The model and the smallest input that it runs on."""
    problem: Exception | None = None
    for side in dict.fromkeys(candidate.sides):
        try:
            model = use_float64(candidate.build(side))
            model.eval()  # on its own: of mmpretrain's backbones it returns None
            x = torch.randn(BATCH, 3, side, side, dtype=torch.float64)
            with torch.no_grad():
                model(x)
            return model, x
        except (RuntimeError, AssertionError, ValueError, IndexError) as error:
            problem = error
    raise problem


def _describe(report) -> str:
    found = sum(branch.found for branch in report.blocks)
    masked = sum(branch.start is None for branch in report.blocks)
    parts = [f'{len(report.blocks)}']
    if found:
        parts.append('found automatically' if found == len(report.blocks) else f'{found} found')
    if masked:
        parts.append(f'{masked} masked')
    undropped = sum(branch.rate == 0 for branch in report.blocks)
    if undropped:
        parts.append(f'{undropped} keep a rate of 0')
    places = [name for name, why in report.skipped.items() if 'no branch covers' not in why]
    if places:
        parts.append(f'{len(places)} places without residual')
    return ', '.join(parts)


def _first_sentence(error: Exception) -> str:
    text = ' '.join(str(error).split())
    return text.split(' Register the block')[0][:300] or type(error).__name__
