"""Print parameters and FLOPs of a config by both conventions, without computing anything."""

import argparse
import sys
from collections.abc import Sequence

from cosub_mm.analysis.complexity import complexity, default_shape
from cosub_mm.launch.config import load_config
from cosub_mm.launch.errors import run_tool, user_errors
from cosub_mm.launch.overrides import OverrideAction
from cosub_mm.launch.values import at_least


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description='Parameters and FLOPs (multiply-adds of one image) of a classifier or '
        'segmentor. The model is built on the meta device: no weights, no memory, no GPU.'
    )
    parser.add_argument('configs', nargs='+', help='config files')
    parser.add_argument(
        '--shape',
        nargs=2,
        type=at_least(1),
        metavar=('HEIGHT', 'WIDTH'),
        help='size of the input; by default img_size of a classifier, and the crop by four times '
        'the crop of a segmentor (512 2048), as in Table 13 of the paper',
    )
    parser.add_argument(
        '--cfg-options', nargs='+', action=OverrideAction, help='key=value settings'
    )
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None) -> None:
    """Print a row for each config."""
    args = parse_args(argv)
    print(f'{"config":<44}{"input":>11}{"params":>11}{"FLOPs":>11}{"without attention":>20}')
    for path in args.configs:
        with user_errors('building the model'):
            cfg = load_config(path, args.cfg_options)
            shape = tuple(args.shape or default_shape(cfg))
            try:
                result = complexity(cfg, shape)
            except RuntimeError as error:  # torch's, of a layer that gets too few pixels
                raise ValueError(f'an input of {shape[0]}x{shape[1]} pixels: {error}') from error
        print(
            f'{path.removeprefix("configs/"):<44}{"x".join(map(str, shape)):>11}'
            f'{result.params / 1e6:>9.2f} M{result.flops / 1e9:>9.1f} G'
            f'{result.flops_without_attention / 1e9:>18.1f} G'
        )
    print(
        'params: all that is trained, auxiliary heads included; FLOPs: multiply-adds of a '
        'prediction,\nwith and without the products of queries, keys and values. Table 13 of the '
        'paper leaves them out.'
    )


if __name__ == '__main__':
    sys.exit(run_tool(main))
