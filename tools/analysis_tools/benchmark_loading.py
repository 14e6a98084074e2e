"""Images a second and core of a config's training pipeline, beside timm's and torchvision's."""

import argparse
import math
import statistics
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config
from mmengine.registry import DATASETS, init_default_scope
from timm.data.loader import fast_collate
from torch.utils.data import Dataset, Subset

import cosub_mm  # noqa: F401
from cosub_mm.analysis import reading_rates
from cosub_mm.analysis.loading_rates import Way, measure_core, measure_workers, steps_of, time_steps
from cosub_mm.analysis.reference_pipeline import (
    StepImages,
    Steps,
    TorchvisionImages,
    timm_steps,
    torchvision_pipeline,
    torchvision_steps,
)
from cosub_mm.checks.data import set_bad_image_policy
from cosub_mm.launch.config import load_config
from cosub_mm.launch.errors import UserError, run_tool, user_errors
from cosub_mm.launch.overrides import OverrideAction
from cosub_mm.launch.values import at_least, positive


def pair(cfg: Config, images: int) -> tuple[Dataset, Dataset]:
    """Our training data set and torchvision's over the same randomly chosen images.

    Args:
        cfg: reads ``train_dataloader.dataset``.
        images: how many; fewer if the data set has fewer.
    """
    init_default_scope(cfg.get('default_scope', 'mmpretrain'))
    set_bad_image_policy(cfg, 'stop')  # as tools/train.py does
    dataset_cfg = cfg.train_dataloader.dataset
    dataset = DATASETS.build(dataset_cfg)
    if len(dataset) == 0:
        raise UserError('the training data set is empty')
    # Random ones, as training reads them: neighbours may lie in one block of the disk.
    chosen = np.random.default_rng(0).permutation(len(dataset))[:images].tolist()
    paths = [dataset.get_data_info(index)['img_path'] for index in chosen]
    return Subset(dataset, chosen), TorchvisionImages(paths, torchvision_pipeline(_pipeline(cfg)))


def ways_of(cfg: Config, images: int) -> list[Way]:
    """Ours, timm's where it has the steps, torchvision's and its v2's, over the same images."""
    ours, torchvision = pair(cfg, images)
    pipeline = ours.dataset.pipeline.transforms
    steps: Steps = [('sample', lambda i: ours.dataset.get_data_info(ours.indices[i]))]
    ways = [Way('this config', ours, [*steps, *steps_of(pipeline)])]
    kits = {
        'timm': timm_steps(_pipeline(cfg)),
        'torchvision': torchvision_steps(_pipeline(cfg)),
        'torchvision v2': torchvision_steps(_pipeline(cfg), tensors=True),
    }
    for name, kit in kits.items():
        if kit is not None:
            ways.append(_reference(name, torchvision.paths, kit))
    return ways


def _reference(name: str, paths: list[str], kit: Steps) -> Way:
    labelled = [*kit, ('pack', lambda image: (image, 0))]
    steps = [('sample', lambda i: paths[i]), *labelled]
    return Way(name, StepImages(paths, labelled), steps, fast_collate)


def _pipeline(cfg: Config) -> list[dict]:
    dataset = cfg.train_dataloader.dataset
    while 'dataset' in dataset:
        dataset = dataset.dataset
    return dataset.pipeline


def report(ways: Sequence[Way], workers: int) -> str:
    """Rates of all ways and the ratio of ours to each, the median over the rounds."""
    ours, *others = ways
    lines = []
    for way in ways:
        spread = f'({min(way.core):.1f} to {max(way.core):.1f})'
        lines.append(f'{way.name}: {way.rate:7.1f} images/s and core  {spread}')
    for other in others:
        ratio = statistics.median(a / b for a, b in zip(ours.core, other.core))
        lines.append(f'this config / {other.name}: {ratio:.2f}')
    for way in ways if workers else ():
        rate = statistics.median(way.wall)
        lines.append(f'{way.name}: {rate:7.1f} images/s on the clock, {workers} worker(s)')
    return '\n'.join(lines)


def report_steps(ways: Sequence[Way], rounds: int) -> str:
    """Microseconds an image by step, one column a way."""
    times = [time_steps(way, rounds) for way in ways]
    names = list(dict.fromkeys(name for column in times for name in column))
    head = f'{"us/image":18}' + ''.join(f'{way.name:>16}' for way in ways)
    rows = [
        f'{name:18}'
        + ''.join(f'{column[name]:16.0f}' if name in column else f'{"-":>16}' for column in times)
        for name in names
    ]
    return '\n'.join([head, *rows])


def cores_for(rate: float, each: float, gpus: int) -> str:
    """How many loading processes feed so many GPUs."""
    one, total = math.ceil(rate / each), math.ceil(gpus * rate / each)
    return f'a GPU at {rate:g} images/s: {one} workers; {gpus} GPUs: {total} cores'


def main(argv: Sequence[str] | None) -> None:
    """Parse the command line, measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='config whose training pipeline is measured')
    parser.add_argument('--data-root', help='folder of the training images')
    parser.add_argument('--images', type=at_least(1), default=1000, help='images of a pass')
    parser.add_argument(
        '--workers',
        type=at_least(0),
        default=0,
        help='measure with so many loading processes on the clock, too',
    )
    parser.add_argument('--batch-size', type=at_least(1), default=32)
    parser.add_argument('--rounds', type=at_least(1), default=5, help='passes of each pipeline')
    parser.add_argument(
        '--gpu-rate',
        type=positive,
        help='images a second that one GPU trains (the log: batch size / time): tells the cores '
        'that feed it',
    )
    parser.add_argument(
        '--reading',
        action='store_true',
        help='also measure reading alone: single files, a tar shard, and one that is read ahead '
        '(a copy of the images is written to a temporary folder; TMPDIR chooses the disk)',
    )
    parser.add_argument(
        '--gpus', type=at_least(1), default=8, help='GPUs of a machine, for --gpu-rate'
    )
    parser.add_argument(
        '--cfg-options', nargs='+', action=OverrideAction, help='key=value settings'
    )
    args = parser.parse_args(argv)
    torch.set_num_threads(1)
    with user_errors('reading the config'):
        cfg = load_config(args.config, args.cfg_options)
    if args.data_root:
        cfg.train_dataloader.dataset.data_root = args.data_root
    if args.images <= args.batch_size:
        raise UserError(f'--images {args.images} must exceed --batch-size {args.batch_size}')
    with user_errors('reading the data set'):
        ways = ways_of(cfg, args.images)
    measure_core(ways, args.batch_size, args.rounds)
    if args.workers:
        measure_workers(ways, args.batch_size, args.rounds, args.workers)
    print(f'{len(ways[0].dataset)} images, {args.rounds} rounds')
    print(report(ways, args.workers))
    print(report_steps(ways, args.rounds))
    if args.reading:
        with tempfile.TemporaryDirectory() as folder:
            files = [path for path in ways[-1].dataset.paths if '://' not in path]
            if not files:
                raise UserError('--reading compares single files; the images lie in shards')
            print(
                reading_rates.table(reading_rates.reading_rates(files, Path(folder), args.rounds))
            )
    if args.gpu_rate:
        print(cores_for(args.gpu_rate, ways[0].rate, args.gpus))


if __name__ == '__main__':
    sys.exit(run_tool(main))
