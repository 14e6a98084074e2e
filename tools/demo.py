"""The main job on real data, in minutes: digits by cosub, then segmentation from that backbone.

Every stage calls a tool, with a command that is printed and can be typed as well. What is done is
not done again, and an interrupted training goes on from its last checkpoint.
"""

import argparse
import json
import os
import platform
import signal
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import torch
from mmengine.config import Config
from PIL import Image

from cosub_mm.analysis.curves import plot_curves
from cosub_mm.demo.data import VERSION
from cosub_mm.demo.stages import Stage, StageResult, duration, run_stages
from cosub_mm.launch.errors import run_tool, user_errors
from cosub_mm.processes import end_with_make
from cosub_mm.whole_files import write_atomically

ROOT = Path(__file__).resolve().parents[1]
DATA = 'data/demo'
WORK_DIR = 'work_dirs/demo'
PICTURES = ('curves.png', 'scenes_cosub.png', 'scenes_scratch.png')
SCENES_SHOWN = 4
# What UperNet starts from -> its config
COMPARED = {'cosub': 'upernet_vit_scenes', 'scratch': 'upernet_vit_scratch_scenes'}


def stages(data: str = DATA, work_dir: str = WORK_DIR) -> list[Stage]:
    """The demo, stage by stage."""
    digits, scenes = partial(_train, f'{data}/digits'), partial(_train, f'{data}/scenes')
    pretrained = '{work_dir}/cosub/epoch_30.pth'
    upernet = 'model.backbone.init_cfg.checkpoint'
    # The configs name the default places; only others must be given.
    moved = work_dir != WORK_DIR
    from_cosub = (f'load_from={pretrained}',) if moved else ()
    upernet_from_cosub = (f'{upernet}={pretrained}',) if moved else ()
    names = {
        'cosub': 'UperNet from cosub',
        'cosubseg': 'UperNet from cosub, co-trained',
        'scratch': 'UperNet from scratch',
    }
    return [
        Stage(
            'data',
            'Data: 5,000 digits and 1,100 scenes',
            (('tools/dataset_converters/make_demo_data.py', data),),
            recipe=VERSION,
            writes=(f'{data}/digits', f'{data}/scenes'),
            result=_data_report,
            always=True,
        ),
        digits('cosub', 'Cosub pre-training, 28 px', 'cosub_vit_digits', 'epoch_30.pth'),
        digits('supervised', 'Supervised baseline', 'supervised_vit_digits', 'epoch_30.pth'),
        digits(
            'finetune',
            'Fine-tuning of cosub, 35 px',
            'cosub_vit_digits_ft35',
            'epoch_3.pth',
            from_cosub,
            ('cosub',),
        ),
        scenes(
            'upernet_cosub',
            f'{names["cosub"]}, single-scale',
            'upernet_vit_scenes',
            'iter_200.pth',
            upernet_from_cosub,
            ('cosub',),
        ),
        scenes(
            'upernet_cosubseg',
            f'{names["cosubseg"]}, single-scale',
            'upernet_vit_cosub_scenes',
            'iter_200.pth',
            upernet_from_cosub,
            ('cosub',),
        ),
        scenes(
            'upernet_scratch',
            f'{names["scratch"]}, single-scale',
            'upernet_vit_scratch_scenes',
            'iter_200.pth',
        ),
        *(_test_multi_scale(f'{data}/scenes', start, names[start]) for start in COMPARED),
    ]


def _train(
    data: str,
    name: str,
    title: str,
    config: str,
    checkpoint: str,
    options: tuple[str, ...] = (),
    needs: tuple[str, ...] = (),
) -> Stage:
    """Train, then test the last checkpoint."""
    path = f'configs/demo/{config}.py'
    place = _data_root(data)
    segmentation = 'scenes' in config
    metrics = '{dir}/metrics.json'
    train = ('tools/train.py', path, '--work-dir', '{dir}', *place)
    test = ('tools/test.py', path, f'{{dir}}/{checkpoint}', '--work-dir', '{dir}/test', *place)
    test = (*test, '--out', metrics)
    if segmentation:
        test = (*test, '--show-dir', '{dir}/pictures', '--show-interval', '10')
    if options:
        train, test = ((*line, '--cfg-options', *options) for line in (train, test))
    return Stage(
        name,
        title,
        (train, test),
        recipe=_config_text(path),
        needs=('data', *needs),
        writes=(f'{{dir}}/{checkpoint}', metrics, *(['{dir}/pictures'] if segmentation else [])),
        result=partial(_metric, 'mIoU' if segmentation else 'accuracy/top1'),
    )


def _test_multi_scale(data: str, start: str, title: str) -> Stage:
    path = f'configs/demo/{COMPARED[start]}.py'
    checkpoint = f'{{work_dir}}/upernet_{start}/iter_200.pth'
    line = ('tools/test.py', path, checkpoint, '--tta', '--work-dir', '{dir}')
    return Stage(
        f'multi_scale_{start}',
        f'{title}, multi-scale and flip',
        ((*line, '--out', '{dir}/metrics.json', *_data_root(data)),),
        recipe=_config_text(path),
        needs=(f'upernet_{start}',),
        writes=('{dir}/metrics.json',),
        result=partial(_metric, 'mIoU'),
    )


def _config_text(path: str) -> str:
    return Config.fromfile(ROOT / path, import_custom_modules=False).pretty_text


def _data_root(data: str) -> tuple[str, ...]:
    """``--data-root``, unless the configs read from there anyway."""
    return () if data.startswith(f'{DATA}/') else ('--data-root', data)


def _data_report(folder: Path) -> str:
    lines = (folder / 'output.txt').read_text().splitlines()
    # The last call's two data sets.
    return ' '.join([line for line in lines if ' files' in line][-2:])


def _metric(key: str, folder: Path) -> str:
    value = json.loads((folder / 'metrics.json').read_text())[key]
    return f'{value:.1f}% top-1' if key == 'accuracy/top1' else f'{value:.1f}% mIoU'


def write_pictures(work_dir: Path) -> None:
    """Training curves, and overlays of the validation scenes beside the truth."""
    runs = {'cosub': work_dir / 'cosub', 'supervised': work_dir / 'supervised'}
    segmentation = {name: work_dir / f'upernet_{name}' for name in COMPARED}
    panels = [
        ('Training loss on the digits (cosub: eq. 2)', 'loss', runs),
        ('Top-1 on the 1,000 held-out digits', 'accuracy/top1', runs),
        ('Loss of UperNet on the scenes', 'decode.loss_ce', segmentation),
    ]
    plot_curves(panels, work_dir / 'curves.png')
    for name in segmentation:
        _sheet(work_dir, name)


def _sheet(work_dir: Path, start: str) -> None:
    """Some of the test's overlays below each other."""
    files = sorted((work_dir / f'upernet_{start}' / 'pictures').rglob('*.*g'))[:SCENES_SHOWN]
    pictures = [Image.open(file).convert('RGB') for file in files]
    size = max(p.width for p in pictures), sum(p.height for p in pictures)
    sheet, top = Image.new('RGB', size, 'white'), 0
    for picture in pictures:
        sheet.paste(picture, (0, top))
        top += picture.height
    sheet.save(work_dir / f'scenes_{start}.png')


def write_table(rows: Sequence[StageResult], work_dir: Path) -> None:
    """Write the table as Markdown and JSON."""
    lines = ['| stage | time | result | written |', '|---|---|---|---|']
    for row in rows:
        written = ', '.join(f'`{path}`' for path in row.written)
        lines.append(f'| {row.title} | {duration(row.seconds)} | {row.result} | {written} |')
    total = sum(row.seconds for row in rows)
    lines.append(f'| total | {duration(total)} | | |')
    cores = len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count()
    where = f'{cores} CPU cores, Python {platform.python_version()}, torch {torch.__version__}'
    text = '\n'.join([*lines, '', f'Measured by `make demo` on {where}.']) + '\n'
    write_atomically(work_dir / 'table.md', text.encode())
    content = dict(stages=[vars(row) for row in rows], total=total, machine=where)
    write_atomically(work_dir / 'table.json', json.dumps(content, indent=1).encode())


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Command line of the demo."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--work-dir', default=ROOT / WORK_DIR, help=f'default: {WORK_DIR}')
    parser.add_argument('--data-dir', default=ROOT / DATA, help=f'default: {DATA}')
    parser.add_argument('--overwrite', action='store_true', help='do every stage again')
    return parser.parse_args(argv)


def run(argv: Sequence[str] | None = None) -> None:
    """Run the demo, print the table, and say where everything is."""
    args = parse_args(argv)
    data, work_dir = from_root(args.data_dir), from_root(args.work_dir)
    os.chdir(ROOT)
    end_with_make()
    signal.signal(signal.SIGTERM, _interrupt)
    say = partial(print, flush=True)
    with user_errors('making the folders'):
        for folder in (data, work_dir):
            Path(folder).mkdir(parents=True, exist_ok=True)
    rows = run_stages(stages(data, work_dir), work_dir, ROOT, args.overwrite, say)
    files = [Path(work_dir, name) for name in (*PICTURES, 'table.md', 'table.json')]
    done_before = all(row.reused for row in rows[1:])
    # The table is the last to be written: with it the pictures are whole.
    if not done_before or not all(file.exists() for file in files):
        files[-1].unlink(missing_ok=True)
        write_pictures(Path(work_dir))
        write_table(rows, Path(work_dir))
    say('\n' + Path(work_dir, 'table.md').read_text())
    say('Table and pictures: ' + ', '.join(map(str, files)))
    if done_before:
        say('All of it was done before; the times are those of then. --overwrite does it again.')


def from_root(path: str) -> str:
    """As the configs have it: relative to the checkout where it lies inside."""
    path = Path(path).absolute()
    return str(path.relative_to(ROOT) if path.is_relative_to(ROOT) else path)


def _interrupt(*_) -> None:
    raise KeyboardInterrupt


if __name__ == '__main__':
    sys.exit(run_tool(run))
