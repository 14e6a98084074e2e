"""Make a training checkpoint fit to publish: plain weights, and a hash in the name.

    python tools/model_converters/publish_model.py work_dirs/vit-b_in1k/epoch_800.pth vit-b.pth

writes ``vit-b-1a2b3c4d.pth`` with tensors only, which ``torch.load(..., weights_only=True)`` and
every ``init_cfg`` and ``load_from`` of OpenMMLab read.
"""

import argparse
import hashlib
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from cosub_mm.engine.checkpoints import load_checkpoint
from cosub_mm.engine.errors import UserError, run_tool

HASH_LENGTH = 8


def weights_of(checkpoint: dict, ema: bool) -> dict[str, torch.Tensor]:
    """Raw or averaged weights of a checkpoint of mmengine, on the CPU, without their history.

    Args:
        checkpoint: as mmengine saved it, or a state dict.
        ema: take the averaged weights, which mmengine's EMAHook keeps under ``ema_state_dict``.

    Raises:
        UserError: averaged weights are asked for and there are none, or something is no tensor.
    """
    if ema and 'ema_state_dict' not in checkpoint:
        raise UserError(
            'the checkpoint holds no averaged weights (EMA): it was trained without an EMAHook, or '
            'published already. Leave --ema out.'
        )
    state = checkpoint['ema_state_dict'] if ema else checkpoint.get('state_dict', checkpoint)
    # The averaged model counts its updates beside the weights.
    state = {key: value for key, value in state.items() if key != 'steps'}
    wrong = [key for key, value in state.items() if not isinstance(value, torch.Tensor)]
    if wrong or not state:
        raise UserError(
            f'the checkpoint holds no plain weights; see its key {[*wrong, None][0]!r}.'
        )
    # A clone: a view would drag its whole storage into the file.
    return {key.removeprefix('module.'): v.detach().cpu().clone() for key, v in state.items()}


def publish(source: str, target: Path, ema: bool = False) -> Path:
    """Write the weights of a checkpoint under a name with their hash, and return the path."""
    weights = weights_of(load_checkpoint(source), ema)
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_suffix('.part')
    torch.save(dict(state_dict=weights), part)
    digest = hashlib.sha256(part.read_bytes()).hexdigest()[:HASH_LENGTH]
    return part.replace(target.with_name(f'{target.stem}-{digest}.pth'))


def main(argv: Sequence[str] | None) -> None:
    """Parse the command line and publish."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('source', help='checkpoint of a training')
    parser.add_argument('target', type=Path, help='file to write; the hash is added to its name')
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument('--ema', action='store_true', help='publish the averaged weights')
    kind.add_argument('--raw', action='store_true', help='publish the trained weights (default)')
    args = parser.parse_args(argv)
    path = publish(args.source, args.target, args.ema)
    print(f'{"Averaged" if args.ema else "Trained"} weights: {path}')


if __name__ == '__main__':
    sys.exit(run_tool(main))
