"""Checkpoints that fit by their tensors and belong to something else: said, and stopped."""

import runpy
import shutil
from pathlib import Path

import pytest
import torch

from cosub_mm.engine.checkpoints import load_checkpoint
from cosub_mm.launch.errors import run_tool
from tools import test, train

ROOT = Path(__file__).parents[2]


@pytest.fixture
def renamed_classes(classes_root, tmp_path):
    """The same pictures with the folders a and c exchanged, as --cfg-options."""
    shutil.copytree(classes_root, tmp_path / 'data')
    for split in ('train', 'val'):
        folder = tmp_path / 'data' / split
        (folder / 'a').rename(folder / 'd')
    return ['--data-root', str(tmp_path / 'data')]


WORDS = "label 0 is 'a' in the checkpoint and 'b' in the data"


def test_other_classes_in_a_test(
    trained_classifier, classification, renamed_classes, tmp_path, capsys
):
    line = [str(classification), str(trained_classifier / 'epoch_2.pth')]
    line += ['--work-dir', str(tmp_path / 'run'), *renamed_classes]
    assert test.main(line) == 2
    assert WORDS in capsys.readouterr().err
    assert test.main([*line, '--accept', 'other-classes']) == 0
    assert 'ACCEPTED (other-classes)' in max((tmp_path / 'run').glob('*/*.log')).read_text()


@pytest.mark.parametrize('how', ['--resume', 'load_from'])
def test_other_classes_in_a_training_that_keeps_the_head(
    trained_classifier, classification, renamed_classes, tmp_path, capsys, how
):
    checkpoint = str(trained_classifier / 'epoch_1.pth')
    line = [str(classification), '--work-dir', str(tmp_path / 'run'), *renamed_classes]
    start = ['--resume', checkpoint]
    if how == 'load_from':
        start = ['--cfg-options', f'load_from={checkpoint}']
    assert train.main([*line, *start]) == 2
    assert WORDS in capsys.readouterr().err
    assert not list((tmp_path / 'run').glob('*.pth'))
    assert train.main([*line, *start, '--accept', 'other-classes']) == 0


@pytest.mark.parametrize(
    'setting, words, accept',
    [
        ('model.backbone.arch.num_layers=1', 'Left over: backbone.layers.1', 'partial-weights'),
        ('model.backbone.arch.num_heads=4', 'num_heads was 2 in training and is 4', 'other-model'),
        ('model.backbone.patch_cfg.padding=corner', "and is 'corner'", 'other-model'),
        ('model.data_preprocessor.to_rgb=False', 'to_rgb was True in training', 'other-model'),
    ],
)
def test_another_model_in_a_test(
    trained_classifier, classification, tmp_path, capsys, setting, words, accept
):
    line = [str(classification), str(trained_classifier / 'epoch_2.pth')]
    line += ['--work-dir', str(tmp_path / 'run'), '--cfg-options', setting]
    accepts = ['--accept', accept]
    if accept == 'partial-weights':
        accepts.append('other-model')  # the depth stands in the config too
    assert test.main(line) == 2
    assert words in capsys.readouterr().err
    assert test.main([*line, *accepts]) == 0


def test_another_architecture_to_start_from(trained_classifier, classification, tmp_path, capsys):
    checkpoint = load_checkpoint(str(trained_classifier / 'epoch_2.pth'))
    state = {n: v for n, v in checkpoint['state_dict'].items() if '.layers.1.' not in n}
    torch.save(dict(state_dict=state), tmp_path / 'shallow.pth')
    line = [str(classification), '--work-dir', str(tmp_path / 'run'), '--cfg-options']
    line += [f'load_from={tmp_path / "shallow.pth"}', 'train_cfg.max_epochs=1']
    assert train.main(line) == 2
    assert 'of the backbone are not in the checkpoint' in capsys.readouterr().err
    assert train.main([*line, '--accept', 'partial-weights']) == 0


def test_training_goes_on_from_the_last_good_checkpoint(
    trained_classifier, classification, tmp_path, capsys
):
    shutil.copytree(trained_classifier, tmp_path / 'run')
    newest = tmp_path / 'run' / 'epoch_2.pth'
    newest.write_bytes(newest.read_bytes()[:-1000])
    assert train.main([str(classification), '--work-dir', str(tmp_path / 'run'), '--resume']) == 0
    said = capsys.readouterr().out
    assert f'kept as {newest}.broken' in said and 'epoch_1.pth (epoch 1' in said
    trained, again = (
        load_checkpoint(str(folder / 'epoch_2.pth'))['state_dict']
        for folder in (trained_classifier, tmp_path / 'run')
    )
    assert all(torch.equal(trained[name], again[name]) for name in trained)


def test_a_flipped_bit_stops_every_use(trained_classifier, classification, tmp_path, capsys):
    content = bytearray((trained_classifier / 'epoch_1.pth').read_bytes())
    content[len(content) // 2] ^= 16
    path = tmp_path / 'flipped.pth'
    path.write_bytes(content)
    work_dir = ['--work-dir', str(tmp_path / 'run')]
    publish = runpy.run_path(str(ROOT / 'tools/model_converters/publish_model.py'))['main']
    for use in (
        lambda: test.main([str(classification), str(path), *work_dir]),
        lambda: train.main([str(classification), *work_dir, '--resume', str(path)]),
        lambda: train.main([str(classification), *work_dir, '--cfg-options', f'load_from={path}']),
        lambda: run_tool(publish, [str(path), str(tmp_path / 'out.pth')]),
    ):
        assert use() == 2
        assert f"'{path}' is damaged: 1 of" in capsys.readouterr().err
    assert not list(tmp_path.glob('out*'))
