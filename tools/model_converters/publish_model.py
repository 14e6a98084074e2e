"""Make a training checkpoint fit to publish: plain weights, and a hash in the name.

    python tools/model_converters/publish_model.py work_dirs/vit-b_in1k/epoch_800.pth vit-b.pth

writes ``vit-b-1a2b3c4d.pth``: the tensors, the text of the config and the names of the classes. It
is read by ``torch.load(..., weights_only=True)`` and by every ``init_cfg`` and ``load_from`` of
OpenMMLab.
"""

import argparse
import hashlib
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from cosub_mm.architectures.position_grid import keep_notes
from cosub_mm.engine.checkpoints import (
    AVERAGED,
    RAW,
    UNKNOWN,
    CheckpointError,
    Weights,
    add_trust_argument,
    add_weights_arguments,
    choose_weights,
    load_checkpoint,
    trusting,
    wanted_kind,
)
from cosub_mm.launch.errors import run_tool, user_errors
from cosub_mm.launch.outputs import check_writable

HASH_LENGTH = 8
PEER = 'peer.'
NAMES = {AVERAGED: 'Averaged weights (EMA)', RAW: 'Trained weights', UNKNOWN: 'Weights'}


def publish(
    source: str,
    target: Path,
    want: str | None = None,
    key: str | None = None,
    member: str | None = None,
) -> tuple[Path, str]:
    """Write one set of weights of a checkpoint, on the CPU, without the state of its training.

    Args:
        source: checkpoint of a training, or any file of weights.
        target: the file to write, before the hash is added to its name.
        want: 'averaged' or 'raw'; None takes the raw weights where there are both.
        key: where the file keeps the weights; goes before ``want``.
        member: 'first' or 'second' of two models that were trained together
            (``CoTrainingClassifier``), written as the one of a plain ImageClassifier.

    Returns:
        The path with the hash; 'averaged', 'raw' or 'unknown'.

    Raises:
        CheckpointError: it does not hold what was asked for, or does not tell which is which.
    """
    checkpoint = load_checkpoint(source, verify=True)
    weights = choose_weights(checkpoint, source, want, key, default=RAW)
    print(f'{source}: {weights}')
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_suffix('.part')
    # A clone: a view would drag its whole storage into the file.
    tensors = {name: v.detach().cpu().clone() for name, v in weights.tensors.items()}
    tensors = keep_notes(tensors, weights.tensors)
    meta = _meta(checkpoint, weights)
    if member:
        tensors = _member(tensors, member, source)
        meta.pop('cfg', None)  # that of two models
    torch.save(dict(state_dict=tensors, meta=meta), part)
    digest = hashlib.sha256(part.read_bytes()).hexdigest()[:HASH_LENGTH]
    return part.replace(target.with_name(f'{target.stem}-{digest}.pth')), weights.kind


def _member(tensors: dict[str, torch.Tensor], member: str, source: str) -> dict:
    """The weights of one of two models, under the names of a plain classifier."""
    second = {k.removeprefix(PEER): v for k, v in tensors.items() if k.startswith(PEER)}
    if not second:
        raise CheckpointError(
            f"checkpoint '{source}' holds one model: --member is for two that were trained "
            f'together (CoTrainingClassifier). Leave it out.'
        )
    first = {name: value for name, value in tensors.items() if not name.startswith(PEER)}
    if member == 'first':
        return keep_notes(first, tensors)
    return keep_notes(second, tensors, strip=PEER)


def _meta(checkpoint: dict, weights: Weights) -> dict:
    """What later checks need to know: the config, the classes, raw or averaged."""
    meta = checkpoint.get('meta') or {}
    kept = {'cfg': meta['cfg']} if isinstance(meta.get('cfg'), str) else {}
    classes = (meta.get('dataset_meta') or {}).get('classes')
    if classes is not None:
        kept['dataset_meta'] = {'classes': tuple(map(str, classes))}
    if weights.kind in (RAW, AVERAGED):
        kept['weights'] = weights.kind
    return kept


def main(argv: Sequence[str] | None) -> None:
    """Parse the command line and publish."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('source', help='checkpoint of a training')
    parser.add_argument('target', type=Path, help='file to write; the hash is added to its name')
    add_trust_argument(parser)
    add_weights_arguments(parser, 'the raw ones')
    parser.add_argument(
        '--member',
        choices=('first', 'second'),
        help='of two models that were trained together, as a plain checkpoint',
    )
    args = parser.parse_args(argv)
    with user_errors('looking at the target'):
        check_writable(args.target, 'target', is_file=True)
    with trusting(args.trust_checkpoint):
        path, kind = publish(
            args.source, args.target, wanted_kind(args), args.weights_key, args.member
        )
    print(f'{NAMES[kind]}: {path}')


if __name__ == '__main__':
    sys.exit(run_tool(main))
