"""Images per second of a config's training pipeline, beside torchvision's on the same images."""

import argparse
import math
import statistics
import sys
import time
from collections.abc import Sequence

import numpy as np
import torch
from mmengine.config import Config, DictAction
from mmengine.registry import DATASETS, init_default_scope
from torch.utils.data import DataLoader, Dataset, Subset

import cosub_mm  # noqa: F401
from cosub_mm.datasets.reference_pipeline import TorchvisionImages, torchvision_pipeline
from cosub_mm.engine.errors import UserError, run_tool, user_errors


def pair(cfg: Config, images: int) -> tuple[Dataset, Dataset]:
    """Our training data set and torchvision's over the same randomly chosen images.

    Args:
        cfg: reads ``train_dataloader.dataset``.
        images: how many; fewer if the data set has fewer.
    """
    init_default_scope(cfg.get('default_scope', 'mmpretrain'))
    dataset_cfg = cfg.train_dataloader.dataset
    dataset = DATASETS.build(dataset_cfg)
    if len(dataset) == 0:
        raise UserError('the training data set is empty')
    # Random ones, as training reads them: neighbours may lie in one block of the disk.
    chosen = np.random.default_rng(0).permutation(len(dataset))[:images].tolist()
    paths = [dataset.get_data_info(index)['img_path'] for index in chosen]
    return Subset(dataset, chosen), TorchvisionImages(
        paths, torchvision_pipeline(dataset_cfg.pipeline)
    )


def rate(dataset: Dataset, workers: int, batch_size: int) -> float:
    """Images per second of one pass, worker start-up aside."""
    loader = DataLoader(dataset, batch_size, num_workers=workers, collate_fn=list)
    start, seen = None, 0
    for batch in loader:
        # The clock starts with the first batch: a long training starts its workers once.
        if start is None:
            start = time.perf_counter()
        else:
            seen += len(batch)
    return seen / (time.perf_counter() - start) if seen else math.nan


def measure(
    datasets: Sequence[Dataset], workers: int, batch_size: int, rounds: int
) -> list[list[float]]:
    """Rates of the data sets in turn, so that a busy machine disturbs all of them alike."""
    for dataset in datasets:
        rate(dataset, workers, batch_size)  # fills the cache of the file system
    passes = [[rate(d, workers, batch_size) for d in datasets] for _ in range(rounds)]
    return [list(values) for values in zip(*passes)]


def main(argv: Sequence[str] | None) -> None:
    """Parse the command line, measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='config whose training pipeline is measured')
    parser.add_argument('--data-root', help='folder of the training images')
    parser.add_argument('--images', type=int, default=1000, help='images of a pass')
    parser.add_argument('--workers', type=int, default=1, help='loading processes')
    parser.add_argument('--batch-size', type=int, default=32)
    parser.add_argument('--rounds', type=int, default=3, help='passes of each pipeline')
    parser.add_argument(
        '--gpu-rate',
        type=float,
        help='images a second that one GPU trains (the log: batch size / time): tells the workers '
        'that feed it',
    )
    parser.add_argument('--cfg-options', nargs='+', action=DictAction, help='key=value settings')
    args = parser.parse_args(argv)
    torch.set_num_threads(1)
    cfg = Config.fromfile(args.config)
    cfg.merge_from_dict(args.cfg_options or {})
    if args.data_root:
        cfg.train_dataloader.dataset.data_root = args.data_root
    if args.images <= args.batch_size:
        raise UserError(f'--images {args.images} must exceed --batch-size {args.batch_size}')
    with user_errors('reading the data set'):
        datasets = pair(cfg, args.images)
    rates = measure(datasets, args.workers, args.batch_size, args.rounds)
    medians = [statistics.median(values) for values in rates]
    print(f'{len(datasets[0])} images, {args.workers} worker(s), {args.rounds} rounds')
    for name, values, median in zip(('this config', 'torchvision'), rates, medians):
        print(f'{name}: {median:7.1f} images/s  ({min(values):.1f} to {max(values):.1f})')
    print(f'this config / torchvision: {medians[0] / medians[1]:.2f}')
    each = medians[0] / max(args.workers, 1)
    print(f'one worker: {each:.0f} images/s')
    if args.gpu_rate:
        print(f'a GPU at {args.gpu_rate:g} images/s: {math.ceil(args.gpu_rate / each)} workers')


if __name__ == '__main__':
    sys.exit(run_tool(main))
