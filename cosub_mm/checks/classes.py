"""Compare the classes of a checkpoint with those of the data of a run."""

from argparse import Namespace

from mmengine.config import Config
from mmengine.runner import Runner

from cosub_mm.engine.checkpoints import (
    accepted,
    check_classes,
    load_checkpoint,
    paths_of_kept_heads,
)

__all__ = ['compare_tested_classes', 'compare_trained_classes']


def compare_tested_classes(runner: Runner, cfg: Config, args: Namespace) -> None:
    """Stop a test whose labels mean other classes than the checkpoint's.

    Raises:
        NotAccepted: other names, or another order.
    """
    dataset = runner.test_loop.dataloader.dataset
    checkpoint = load_checkpoint(args.checkpoint, peek=True)
    check_classes(checkpoint, args.checkpoint, dataset, accepted(cfg, args))


def compare_trained_classes(runner: Runner, cfg: Config, args: Namespace) -> None:
    """The same for a training that goes on, or that starts from weights with their head.

    Raises:
        NotAccepted: other names, or another order.
    """
    paths = [cfg.load_from] if cfg.get('resume') else paths_of_kept_heads(cfg, runner.model)
    for path in paths:
        dataset = runner.train_loop.dataloader.dataset
        check_classes(load_checkpoint(path, peek=True), path, dataset, accepted(cfg, args))
