"""Compute the metrics of written label maps by scikit-learn, to compare with tools/test.py."""

import argparse

from mmengine.registry import DATASETS, init_default_scope

import cosub_mm  # noqa: F401  (registers)
from cosub_mm.analysis.label_maps import metrics_of_label_maps
from cosub_mm.launch.config import load_config
from cosub_mm.launch.errors import run_tool, user_errors


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description='Mean IoU, mean accuracy and pixel accuracy from label maps, by the confusion '
        'matrix of scikit-learn. First: tools/test.py CONFIG CHECKPOINT --out DIR'
    )
    parser.add_argument('config', help='config whose test data set was predicted')
    parser.add_argument('predictions', help='DIR of tools/test.py --out DIR')
    parser.add_argument('--data-root', help='data_root of the data set')
    return parser.parse_args(argv)


def run(argv: list[str] | None) -> None:
    args = parse_args(argv)
    with user_errors('reading the config'):
        cfg = load_config(args.config)
    init_default_scope('mmseg')
    with user_errors('comparing the label maps'):
        dataset_cfg = dict(cfg.test_dataloader.dataset, pipeline=[], lazy_init=True)
        if args.data_root:
            dataset_cfg['data_root'] = args.data_root
        dataset = DATASETS.build(dataset_cfg)
        metrics = metrics_of_label_maps(
            args.predictions,
            dataset.data_prefix['seg_map_path'],
            len(dataset.metainfo['classes']),
            dataset.reduce_zero_label,
            dataset.ignore_index,
        )
    print('  '.join(f'{name}: {value:.4f}' for name, value in metrics.items()))


if __name__ == '__main__':
    raise SystemExit(run_tool(run))
