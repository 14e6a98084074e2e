"""Copy the batch where the first random branch begins, instead of at the input.

All copies of a sample are the same up to there, so the layers before it need to see one only. The
copy is made at the first random block, or, in a model that reads its batch size before that, behind
each module of its stem.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple
from weakref import WeakKeyDictionary, ref

from torch import Tensor, nn

from cosub_mm.stochastic_depth.places.attach import changes
from cosub_mm.stochastic_depth.places.drop_path import ends_of
from cosub_mm.stochastic_depth.step.module import StochasticDepth

from .stem import keeping, repeat
from .trial import Verdict, try_late_copy

__all__ = ['CopiedBatch', 'copy_batch_late', 'verdict_on']

_CHECKPOINT_FLAGS = ('grad_checkpointing', 'with_cp', 'use_checkpoint')


class CopiedBatch(NamedTuple):
    """What to call the model with.

    Attributes:
        inputs: the batch as it is if the first random block copies it, otherwise with its copies.
        late: whether what lies before the first random branch sees each sample once.
        reason: why it does not, or an empty string.
    """

    inputs: Tensor
    late: bool
    reason: str


class _Judge:
    """What is known of one model: its ends, its switches, and the verdicts so far."""

    def __init__(self, model: nn.Module) -> None:
        self.changes = changes()
        self.ends = ends_of(model)
        # weak, because the verdicts on a model must not keep it alive
        self.way = [ref(module) for module in (_way(model, self.ends[0]) if self.ends else [])]
        self.flags = [
            (ref(module), flag)
            for module in model.modules()
            for flag in _CHECKPOINT_FLAGS
            if hasattr(module, flag)
        ]
        self.verdicts: dict[tuple, Verdict] = {}
        self.last: Verdict | None = None

    def verdict(self, model: nn.Module, inputs: Tensor) -> Verdict:
        """The verdict for these inputs, rates and checkpoints, of a trial that is made once."""
        active = tuple([end.active for end in self.ends])
        if True not in active:
            return Verdict(None, False, 'no branch is random now')
        key = (
            inputs.shape[1:],
            inputs.is_floating_point(),
            active,
            tuple([bool(getattr(module(), flag, False)) for module, flag in self.flags]),
            tuple([id(getattr(module(), '__dict__', {}).get('forward')) for module in self.way]),
            keeping().others_rule,
        )
        if key not in self.verdicts:
            self.verdicts[key] = self._try(model, inputs)
        self.last = self.verdicts[key]
        return self.last

    def _try(self, model: nn.Module, inputs: Tensor) -> Verdict:
        verdict = try_late_copy(model, inputs)
        if verdict.copier is not None:
            verdict.copier.switch(True)
            self.ends[0].hooks.append(verdict.copier)  # off in evaluation, and gone with the end
        return verdict


def _way(model: nn.Module, end: StochasticDepth) -> list[nn.Module]:
    """The modules around ``end`` and beside it, any of which may be checkpointed."""
    around = [module for module in model.modules() if end in set(module.modules())]
    beside = [child for module in around for child in module.children()]
    return [*around, *beside]


_judges: WeakKeyDictionary = WeakKeyDictionary()


@contextmanager
def copy_batch_late(model: nn.Module, inputs: Tensor, num_copies: int) -> Iterator[CopiedBatch]:
    """Let one forward pass of ``model`` on ``inputs`` return rows for ``num_copies`` copies.

    ::

        with copy_batch_late(backbone, images, 2) as batch:
            features = backbone(batch.inputs)  # rows of copy 1, then rows of copy 2

    Either way the output has ``num_copies * len(inputs)`` rows in the order of
    ``torch.cat([inputs] * num_copies)``, and the same values. The model is tried once, on two
    samples in float64; the batch is copied at the input (``late`` is False, ``reason`` says why)
    where the trial differs: a model that computes anew for backward what lies before the first
    random branch (activation checkpointing), returns features from there, has dropout there, is
    sharded by FSDP, or drops nothing now. The report of
    :func:`~cosub_mm.stochastic_depth.describe` says where the batch is copied.

    BatchNorm before the first branch sees each sample once: same mean and variance, but running
    variances by 1 / (2 n) of their value larger, n being values per channel.

    Args:
        model: with stochastic depth applied; the backbone, called once inside the context.
        inputs: (N, ...), the batch without copies.
        num_copies: at least 1.

    Raises:
        ValueError: ``num_copies`` below 1.
    """
    if num_copies < 1:
        raise ValueError(f'num_copies={num_copies} must be at least 1.')
    if num_copies == 1:
        yield CopiedBatch(inputs, False, 'one copy only')
        return
    model = getattr(model, '_orig_mod', model)  # torch.compile's wrapper
    judge = _judges.get(model)
    if judge is None or judge.changes != changes():
        judge = _judges[model] = _Judge(model)
    verdict = judge.verdict(model, inputs)
    if verdict.copier is None:
        yield CopiedBatch(repeat(inputs, num_copies), False, verdict.where)
        return
    verdict.copier.count, verdict.copier.keeping = num_copies, keeping()
    try:
        yield CopiedBatch(repeat(inputs, num_copies) if verdict.stem else inputs, True, '')
    finally:
        verdict.copier.count = 1


def verdict_on(model: nn.Module) -> str:
    """Where a part of ``model`` copied its batch when it was last asked to, in words."""
    for module in model.modules():
        judge = _judges.get(module)
        if judge is not None and judge.last is not None and judge.changes == changes():
            late = judge.last.copier is not None
            return judge.last.where if late else f'in front of the model: {judge.last.where}'
    return ''
