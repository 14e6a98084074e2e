"""The command lines of tools/train.py and tools/test.py."""

import argparse
import os
from collections.abc import Sequence
from typing import NoReturn

from cosub_mm.checks.config_changes import CHOICES
from cosub_mm.engine.amp import AMP_CHOICES
from cosub_mm.engine.checkpoints import (
    add_accept_argument,
    add_trust_argument,
    add_weights_arguments,
)

from .distributed import LAUNCHERS
from .errors import USER_EXIT_CODE, UserError
from .one_voice import end_silently, may_speak
from .overrides import OverrideAction
from .values import at_least

__all__ = ['test_arguments', 'train_arguments']

AUTO = 'auto'


def train_arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Arguments of a training, checked for form only."""
    parser = _parser('Train a model: classification or segmentation, as the config says.')
    parser.add_argument(
        '--resume',
        nargs='?',
        const=AUTO,
        metavar='CHECKPOINT',
        help='go on from CHECKPOINT, or from the newest one in the work dir (starting anew if it '
        'has none)',
    )
    parser.add_argument(
        '--on-config-change',
        choices=CHOICES,
        default='stop',
        help='when --resume finds settings in the config that the checkpoint was not trained with: '
        'stop and list them (default), go on with the new ones, or with the old ones',
    )
    parser.add_argument(
        '--overwrite',
        action='store_true',
        help='delete the checkpoints that the work dir holds and start anew',
    )
    parser.add_argument(
        '--take-over',
        action='store_true',
        help='write to a work dir that a training on another machine was writing to and is gone',
    )
    parser.add_argument(
        '--amp',
        nargs='?',
        const=AUTO,
        choices=AMP_CHOICES,
        help='mixed precision; without a value fp16 on a GPU, bf16 on a CPU',
    )
    parser.add_argument(
        '--compile',
        action='store_true',
        help="torch.compile for the backbone's forward and backward pass, as compile=True in the "
        'config',
    )
    parser.add_argument(
        '--auto-scale-lr',
        action='store_true',
        help='scale the learning rate from auto_scale_lr.base_batch_size to the actual global '
        'batch, linearly unless auto_scale_lr.rule says sqrt',
    )
    parser.add_argument(
        '--tensorboard',
        action='store_true',
        help='write TensorBoard events beside the usual scalars',
    )
    args = _parse(parser, argv)
    if args.resume and args.overwrite:
        parser.error('--resume and --overwrite contradict each other')
    return args


def test_arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Arguments of a test, checked for form only."""
    parser = _parser('Test a trained model: classification or segmentation, as the config says.')
    parser.add_argument('checkpoint', help='checkpoint of the model to test')
    parser.add_argument('--tta', action='store_true', help='test-time augmentation')
    parser.add_argument(
        '--out',
        help='FILE.json: metrics; FILE.pkl: predictions (classification); DIR: label maps as PNG '
        '(segmentation)',
    )
    parser.add_argument('--show-dir', metavar='DIR', help='draw predictions into DIR')
    parser.add_argument(
        '--show-interval', type=int, default=1, metavar='N', help='draw every N-th image'
    )
    add_weights_arguments(parser, 'those that the training validated')
    return _parse(parser, argv)


class _Parser(argparse.ArgumentParser):
    """Of several processes that get the same wrong arguments one says so."""

    def error(self, message: str) -> NoReturn:
        if not may_speak(UserError(message), USER_EXIT_CODE):
            end_silently(USER_EXIT_CODE)
        super().error(message)


def _parser(description: str) -> argparse.ArgumentParser:
    parser = _Parser(description=description)
    parser.add_argument('config', help='config file')
    parser.add_argument('--work-dir', metavar='DIR', help='where logs and checkpoints go')
    parser.add_argument('--data-root', metavar='DIR', help='data_root of every data set')
    parser.add_argument(
        '--on-bad-image',
        choices=('stop', 'skip'),
        default='stop',
        help='an image file that cannot be decoded, or fails in a transform: stop (default), or '
        'skip it and say so',
    )
    parser.add_argument(
        '--max-image-pixels',
        type=at_least(1),
        metavar='N',
        help='decode pictures of up to N pixels; without it those of more than 89 million are '
        'refused, as a small file may unpack to any size',
    )
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=OverrideAction,
        metavar='KEY=VALUE',
        help='override settings of the config, e.g. model.drop_path_rate=.1; lists as "[a,b]", '
        "dicts as \"{'type': 'EMAHook'}\"",
    )
    parser.add_argument('--launcher', choices=LAUNCHERS, default='none')
    add_accept_argument(parser)
    add_trust_argument(parser)
    # Old launchers pass the rank as an argument.
    parser.add_argument('--local_rank', '--local-rank', type=int, help=argparse.SUPPRESS)
    return parser


def _parse(parser: argparse.ArgumentParser, argv: Sequence[str] | None) -> argparse.Namespace:
    args = parser.parse_args(argv)
    if args.local_rank is not None:
        os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    return args
