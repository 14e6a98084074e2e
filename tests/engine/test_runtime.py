"""Precision, random state, drawing and errors, each without a Runner where that is possible."""

import random
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.optim import build_optim_wrapper
from mmengine.runner import Runner
from PIL import Image
from torch import nn

from cosub_mm.engine.hooks import EpochSeedHook, NonFiniteLossError, seed_worker
from cosub_mm.engine.hooks.drawing import (
    class_palette,
    draw_classification,
    draw_segmentation,
    overlay,
)
from cosub_mm.engine.runner import CosubRunner
from cosub_mm.launch import errors
from cosub_mm.launch.distributed import open_process_group


def test_bf16_wrapper_computes_in_bfloat16_and_steps_in_float32():
    net = nn.Linear(4, 4)
    cfg = dict(type='Bf16OptimWrapper', optimizer=dict(type='SGD', lr=1.0), accumulative_counts=2)
    wrapper = build_optim_wrapper(net, cfg)
    wrapper.initialize_count_status(net, 0, 4)
    before = net.weight.detach().clone()
    for step in range(2):
        with wrapper.optim_context(net):
            out = net(torch.ones(2, 4))
            assert out.dtype == torch.bfloat16
        wrapper.update_params(out.float().sum())
        assert torch.equal(net.weight, before) == (step == 0)
    assert net.weight.dtype == torch.float32


def draw() -> tuple:
    return random.random(), np.random.rand(), torch.rand(1).item()


def seeded(seed: int, epoch: int) -> tuple:
    hub = SimpleNamespace(runtime_info={})
    runner = SimpleNamespace(seed=seed, epoch=epoch, iter=0, train_loop=None, message_hub=hub)
    EpochSeedHook().before_train_epoch(runner)
    return draw()


def test_an_epoch_draws_the_same_numbers_again():
    assert seeded(1, 5) == seeded(1, 5)
    assert (
        len({seeded(seed, epoch)[i] for seed in (1, 2) for epoch in (5, 6) for i in range(3)}) == 12
    )


def test_workers_differ_between_epochs():
    values = []
    for base in (10, 11, 10):
        torch.manual_seed(base)
        seed_worker(0)
        values.append((random.random(), np.random.rand()))
    assert values[0] == values[2] != values[1]


@pytest.mark.parametrize('fails', [False, True])
def test_checkpoints_are_whole_or_absent(tmp_path, monkeypatch, fails):
    """A writer that dies half-way leaves the old file, and nothing else."""

    def write(self, out_dir, filename, *args, **kwargs):
        with open(f'{out_dir}/{filename}', 'wb') as file:
            file.write(b'ne')
            if fails:
                raise OSError('no space left on device')
            file.write(b'w')

    monkeypatch.setattr(Runner, 'save_checkpoint', write)
    target = tmp_path / 'epoch_1.pth'
    target.write_bytes(b'old')
    runner = object.__new__(CosubRunner)
    runner.model, runner.optim_wrapper, runner._hooks = nn.Linear(1, 1), None, []
    if fails:
        with pytest.raises(OSError, match='no space'):
            runner.save_checkpoint(str(tmp_path), 'epoch_1.pth')
    else:
        runner.save_checkpoint(str(tmp_path), 'epoch_1.pth')
    assert target.read_bytes() == (b'old' if fails else b'new')
    assert [file.name for file in tmp_path.iterdir()] == ['epoch_1.pth']


def test_overlay_leaves_ignored_pixels_clear():
    image = np.full((2, 2, 3), 100, np.uint8)
    labels = np.array([[0, 1], [255, -1]])
    drawn = overlay(image, labels, np.array([[200, 0, 0], [0, 0, 0]], np.uint8), opacity=0.5)
    assert drawn.tolist() == [[[150, 50, 50], [50, 50, 50]], [[100] * 3, [100] * 3]]


def test_pictures_show_what_they_should():
    image = np.zeros((20, 30, 3), np.uint8)
    labels = np.zeros((20, 30), np.int64)
    palette = class_palette(2, [[250, 0, 0], [0, 250, 0]])
    picture = draw_segmentation(image, labels + 1, labels, ['left', 'right'], palette, side=30)
    panels = [picture.getpixel((30 * i + 15, 26)) for i in range(3)]
    assert panels == [(0, 0, 0), (150, 0, 0), (0, 150, 0)]
    # Both classes appear in the legend under the panels.
    legend = np.array(picture)[36:].reshape(-1, 3).tolist()
    assert [250, 0, 0] in legend and [0, 250, 0] in legend
    right, wrong = (draw_classification(image, 'cat', 0.9, true) for true in ('cat', 'dog'))
    assert isinstance(right, Image.Image) and right.width == 224
    # Text is smoothed, so ask for the hue: white and grey have none.
    text = [np.array(p)[-32:-16].reshape(-1, 3).astype(int) for p in (right, wrong)]
    redness = [(rows[:, 0] - rows[:, 1]) for rows in text]
    assert redness[0].min() < -50 and redness[0].max() <= 0
    assert redness[1].max() > 50 and redness[1].min() >= 0


def test_small_images_are_enlarged_and_large_ones_are_not():
    checks = np.indices((4, 5)).sum(axis=0) % 2
    for shape, factor in (((4, 5), 2), ((8, 12), 1)):
        image = np.zeros((*shape, 3), np.uint8)
        labels = np.resize(checks, shape)
        picture = draw_segmentation(image, labels, None, 'ab', class_palette(2), side=10)
        assert picture.width == 2 * factor * shape[1]
        panel = np.array(picture)[16 : 16 + factor * shape[0], factor * shape[1] :]
        # Each pixel is one block of its own colour.
        drawn = overlay(image, labels, class_palette(2))
        assert (panel == drawn.repeat(factor, axis=0).repeat(factor, axis=1)).all()


def test_default_palette_has_distinct_colours():
    assert len({tuple(colour) for colour in class_palette(20)}) == 20


def test_user_errors_become_one_line(capsys):
    def wrong(argv):
        with errors.user_errors('reading'):
            raise KeyError('X is not in the registry')

    assert errors.run_tool(wrong) == 2
    printed = capsys.readouterr().err
    assert 'error: while reading: X is not in the registry' in printed
    assert 'Traceback' not in printed


def test_our_errors_in_a_worker_lose_the_pasted_traceback(capsys):
    text = 'Caught NonFiniteLossError in DataLoader worker process 0.\nOriginal Traceback (most '
    text += 'recent call last):\n  File "x.py", line 1\ncosub_mm.x.BadError: picture 3 is cut\n'

    def wrong(argv):
        raise NonFiniteLossError(text)

    assert errors.run_tool(wrong) == 2
    assert capsys.readouterr().err == 'error: picture 3 is cut\n'


def test_faults_keep_their_traceback():
    with pytest.raises(ZeroDivisionError):
        errors.run_tool(lambda argv: 1 / 0)


def test_interruption_has_its_exit_code(capsys):
    def interrupted(argv):
        raise KeyboardInterrupt

    assert errors.run_tool(interrupted) == 130


@pytest.mark.parametrize(
    'launcher, variable', [('pytorch', 'RANK'), ('slurm', 'SLURM_PROCID'), ('mpi', 'OMPI_')]
)
def test_launchers_need_their_environment(monkeypatch, launcher, variable):
    for name in ('RANK', 'SLURM_PROCID', 'OMPI_COMM_WORLD_RANK'):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ValueError, match=variable):
        open_process_group(launcher)


def test_the_package_draws_nothing_at_import():
    """The drawing code is for tests only and is loaded by the first picture."""
    source = sys.modules['cosub_mm.engine.hooks.draw_predictions_hook']
    assert not hasattr(source, 'draw_segmentation')
