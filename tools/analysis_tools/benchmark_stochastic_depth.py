"""Measure stochastic depth: time, saved bytes and peak memory of every way to drop branches."""

import argparse
import sys
import time
import warnings
from collections.abc import Sequence

import torch
from mmengine.config import DictAction

from cosub_mm.analysis.depth import cosub_step, host, side_by_side, table7
from cosub_mm.analysis.depth.variants import VARIANTS, build_model, input_shape
from cosub_mm.analysis.machine import describe_machine
from cosub_mm.launch.errors import run_tool, user_errors
from cosub_mm.launch.values import at_least, device, folder

DTYPES = {'fp32': torch.float32, 'bf16': torch.bfloat16, 'fp16': torch.float16}
CLOCKS = {'wall': time.perf_counter, 'cpu': time.process_time}


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description='No drop, masking, index_add, DINOv2-style subset and ours side by side, in '
        'turns within one run: forward and backward, without optimiser.'
    )
    parser.add_argument(
        '--model', nargs='+', default=['deit3_small_patch16_224'], help='of timm or mmpretrain'
    )
    parser.add_argument('--model-args', nargs='+', action=DictAction, default={}, help='key=value')
    parser.add_argument('--rates', nargs='+', type=float, default=[0.05, 0.1, 0.2, 0.45, 0.6])
    parser.add_argument('--batch-size', type=int, default=32)
    parser.add_argument('--image-size', type=at_least(1), help="by default the model's own")
    parser.add_argument('--device', type=device, default='cpu', help='cpu, cuda, cuda:1, ...')
    parser.add_argument(
        '--dtype', choices=DTYPES, default='fp32', help='bf16 and fp16 are by autocast'
    )
    parser.add_argument('--compile', action='store_true', help='compile every variant')
    parser.add_argument(
        '--variants',
        nargs='+',
        choices=VARIANTS,
        help="default: all but subset, which is ours without the rule of 'auto'; for models that "
        'are no ViT none, mask, subset and ours',
    )
    parser.add_argument('--rounds', type=int, default=7, help='0 measures bytes only')
    parser.add_argument('--warmup', type=int, default=1, help='rounds before')
    parser.add_argument(
        '--clock',
        choices=CLOCKS,
        default='wall',
        help='cpu: processor time of this process, for a machine that others use too',
    )
    parser.add_argument(
        '--no-peak', action='store_true', help='leave peak memory out: one step less for each'
    )
    parser.add_argument('--threads', type=at_least(1), help="torch's threads on the CPU")
    parser.add_argument(
        '--cosub', action='store_true', help='cosub step over a supervised masked step instead'
    )
    parser.add_argument(
        '--table7', action='store_true', help='ViT-S, L and H as in Table 7; needs CUDA'
    )
    parser.add_argument(
        '--host', action='store_true', help='what Python costs a branch, on tiny tensors'
    )
    parser.add_argument('--output', type=folder, help='folder for the table (.md) and plot (.png)')
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None) -> int:
    args = parse_args(argv)
    problem = _problem(args)
    if problem:
        print(f'error: {problem}', file=sys.stderr)
        return 2
    warnings.simplefilter('ignore')
    if args.threads:
        torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    where = torch.device(args.device)
    head = [*describe_machine(where), f'command: python {" ".join(sys.argv)}', '']
    print('\n'.join(head), flush=True)
    if args.table7:
        _write(args, 'table7', head, table7.run(where, args.rounds, args.warmup), [])
        return 0
    if args.host:
        for rate in args.rates:
            text = host.table(host.measure_host(rate, args.rounds, args.warmup))
            ratio, error = host.measure_evaluation(rate, args.rounds, args.warmup)
            text += f'\n\n{host.count_table(host.count_host(rate))}'
            text += f'\n\nevaluation, ours over the untouched model: {ratio:.4f} ±{error:.4f}'
            print(
                f'\nrate {rate}, microseconds of a branch above no drop path\n\n{text}', flush=True
            )
            _write(args, f'host_{rate}', head, text, [])
        return 0
    measure = _cosub if args.cosub else _side_by_side
    for name in args.model:
        print(f'\n{name}, {args.batch_size} images', flush=True)
        with user_errors(f'measuring {name}'):
            model = build_model(name, args.model_args).to(where)
            x = torch.randn(args.batch_size, *input_shape(model, args.image_size), device=where)
            what = f'cosub_{name}' if args.cosub else name
            _write(args, what, head, *measure(args, model, x))
    return 0


def _problem(args: argparse.Namespace) -> str:
    wants_cuda = args.device.startswith('cuda')
    if args.table7 and not wants_cuda:
        return '--table7 measures ViT-S, L and H on a GPU. Give it --device cuda.'
    if wants_cuda and args.clock == 'cpu':
        return '--clock cpu counts the processor, not the GPU. Use --clock wall.'
    if args.batch_size < 1 or args.rounds < 0 or args.warmup < 0:
        return '--batch-size must be at least 1, --rounds and --warmup at least 0.'
    if any(not 0 <= rate < 1 for rate in args.rates):
        return f'--rates {args.rates}: each must lie in [0, 1).'
    if args.variants and 'mask' not in args.variants:
        return '--variants must contain mask, to which all ratios are taken.'
    if (args.cosub or args.table7 or args.host) and not args.rounds:
        return '--rounds 0 measures bytes only, and --cosub, --table7 and --host measure time.'
    return ''


def _side_by_side(args: argparse.Namespace, model, x) -> tuple[str, list]:
    variants = args.variants or side_by_side.default_variants(model)
    rows = []
    for rate in args.rates:
        new = side_by_side.compare_at_rate(
            model,
            x,
            rate,
            variants,
            args.rounds,
            args.warmup,
            CLOCKS[args.clock],
            DTYPES[args.dtype],
            args.compile,
            not args.no_peak,
        )
        rows += new
        print(side_by_side.table(new), flush=True)
    return side_by_side.table(rows), rows


def _cosub(args: argparse.Namespace, model, x) -> tuple[str, list]:
    rows = []
    for rate in args.rates:
        rows.append(
            cosub_step.compare_at_rate(
                model,
                x,
                rate,
                args.rounds,
                args.warmup,
                CLOCKS[args.clock],
                DTYPES[args.dtype],
                not args.no_peak,
            )
        )
        print(cosub_step.table(rows[-1:]), flush=True)
    return cosub_step.table(rows), []


def _write(args: argparse.Namespace, what: str, head: list[str], table: str, rows: list) -> None:
    if args.output is None:
        return
    args.output.mkdir(parents=True, exist_ok=True)
    name = f'{what}_{args.dtype}{"_compiled" if args.compile else ""}_b{args.batch_size}'
    document = args.output / f'{name}.md'
    document.write_text('\n'.join(head) + '\n' + table + '\n')
    print(f'written: {document}')
    if rows:
        picture = args.output / f'{name}.png'
        side_by_side.plot(rows, f'{name}\n{head[0]}', picture)
        print(f'written: {picture}')


if __name__ == '__main__':
    sys.exit(run_tool(main))
