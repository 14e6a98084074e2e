"""Figures 4 and 5, Tables 11 and 12, Figure 2: each command on something tiny."""

import json
import runpy
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope
from PIL import Image

import cosub_mm  # noqa: F401
from cosub_mm.analysis.submodels import kept_parts, only, residual_parts
from tests.models.classifiers.strategies import NAMES, batch, build, config

TOOLS = Path(__file__).parents[2] / 'tools/analysis_tools'


def run(name: str, *args: object) -> int:
    main = runpy.run_path(str(TOOLS / f'{name}.py'))['main']
    return main([str(arg) for arg in args])


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """A config with eight pictures to test on, and a checkpoint."""
    root = tmp_path_factory.mktemp('analyses')
    for i in range(8):
        path = root / 'data' / 'ab'[i % 2] / f'{i}.png'
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(i).integers(0, 255, (16, 16, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(path)
    write(root, 'SupervisedClassifier')
    init_default_scope('mmpretrain')
    torch.manual_seed(0)
    model = MODELS.build(Config.fromfile(root / 'SupervisedClassifier.py').model)
    model.init_weights()
    torch.save(dict(state_dict=model.state_dict()), root / 'weights.pth')
    return root


def write(root: Path, name: str) -> Path:
    loader = dict(
        batch_size=4,
        num_workers=0,
        sampler=dict(type='DefaultSampler', shuffle=False),
        dataset=dict(
            type='CustomDataset',
            data_root=str(root / 'data'),
            pipeline=[dict(type='LoadImageFromFile'), dict(type='PackInputs')],
        ),
    )
    cfg = dict(
        default_scope='mmpretrain',
        model=config(name, root),
        data_preprocessor=dict(mean=[127.5] * 3, std=[127.5] * 3, num_classes=5),
        test_dataloader=loader,
        test_evaluator=dict(type='Accuracy'),
        test_cfg=dict(),
        optim_wrapper=dict(optimizer=dict(type='AdamW', lr=0.01)),
    )
    path = root / f'{name.replace(", ", "_")}.py'
    path.write_text('\n'.join(f'{key} = {value!r}' for key, value in cfg.items()))
    return path


@pytest.mark.parametrize('scale', [True, False])
def test_a_submodel_is_the_network_without_its_branches(scale, tmp_path):
    """What LayerScale of 0, and of a multiple, makes of the same network."""
    model, other = (build('CosubClassifier', tmp_path).eval() for _ in range(2))
    parts = residual_parts(model.backbone)
    assert len(parts) == 4 and len(residual_parts(model.backbone, 'block')) == 2
    kept = kept_parts(parts, 3, draw=1)
    assert kept == kept_parts(parts, 3, draw=1) and len(set(kept)) == 3
    x, _, _ = batch()
    with torch.no_grad():
        for name in parts:
            layer = other.backbone.get_submodule('.'.join(name.split('.')[:2]))
            gamma = layer.attn.gamma1 if '.attn' in name else layer.ffn.gamma2
            gamma.weight.mul_(0 if name not in kept else 4 / 3 if scale else 1)
        whole = model.scores(x)
        with only(model.backbone, parts, kept, scale):
            submodel = model.scores(x)
        assert torch.equal(model.scores(x), whole)
        torch.testing.assert_close(submodel, other.scores(x), rtol=1e-10, atol=1e-12)
    with pytest.raises(ValueError, match='keep=5: the model has 4 parts'):
        kept_parts(parts, 5, 0)


def test_figure_4(folder, capsys):
    model = (folder / 'SupervisedClassifier.py', folder / 'weights.pth')
    args = ('--model', *model, 'one', '--model', *model, 'two', '--draws', 2, '--keep', 4, 2)
    run('submodel_accuracy', *args, '--device', 'cpu', '--out', folder / 'out')
    rows = (folder / 'out/submodels.csv').read_text().splitlines()[1:]
    assert len(rows) == 4 and rows[0].startswith('one,4 of 4,') and rows[0].endswith(',1')
    assert [row.partition(',')[2] for row in rows[:2]] == [
        row.partition(',')[2] for row in rows[2:]
    ]
    assert (folder / 'out/submodels.png').stat().st_size > 1000
    assert '| one | 2 of 4 |' in capsys.readouterr().out


def test_figure_5(tmp_path, capsys):
    for name, top1, v2 in (('a', 80.0, 68.0), ('b', 84.0, 73.0), ('c', 82.0, 70.4)):
        (tmp_path / f'{name}.json').write_text(
            json.dumps({'accuracy/top1': top1, 'accuracy/v2_top1': v2})
        )
    files = [f'{name}={tmp_path / name}.json' for name in 'abc']
    run('overfitting', '--metrics', *files, '--out', tmp_path / 'out')
    out = capsys.readouterr().out
    assert 'line: y = 1.250 x -32.03' in out and '| c | 82.00 | 70.40 | -0.07 |' in out
    assert '| cosub (paper) | 81.50 | 70.80 |' in out  # Table 11, ViT-S
    assert (tmp_path / 'out/overfitting.png').stat().st_size > 1000
    with pytest.raises(Exception, match=r'has no accuracy/real.*choose by --x'):
        run('overfitting', '--metrics', files[0], '--y', 'accuracy/real', '--out', tmp_path)
    with pytest.raises(Exception, match='a line needs two checkpoints'):
        run('overfitting', '--metrics', files[0], '--no-paper', '--out', tmp_path)


def test_tables_11_and_12(folder, capsys):
    config_file = folder / 'SupervisedClassifier.py'
    args = ('--batch', 4, '--rounds', 1, '--device', 'cpu', '--out', folder / 'out')
    run('model_costs', config_file, *args)
    row = (folder / 'out/model_costs.csv').read_text().splitlines()[1].split(',')
    assert float(row[3]) > 0 and float(row[4]) >= 0 and row[5] == '4'
    assert 'machine: ' in capsys.readouterr().out


def test_figure_2(folder, capsys):
    """Weights, optimizer and compute are counted: what Figure 2 says, where nothing is dropped."""
    files = [write(folder, name) for name in ('SupervisedClassifier', *NAMES)]
    for file in files:  # nothing is dropped, so that shares are whole
        file.write_text(
            file.read_text().replace("'drop_path_rate': 0.25", "'drop_path_rate': 1e-9")
        )
    args = ('--batch', 4, '--rounds', 1, '--device', 'cpu', '--out', folder / 'out')
    run('strategy_costs', *files, *args)
    lines = (folder / 'out/strategy_costs.csv').read_text().splitlines()[1:]
    found = {line.split(',')[0]: line.split(',')[2:5] for line in lines}
    assert found['CosubClassifier'][:2] == ['x1.00', 'x1.00']
    assert found['DistilledClassifier'][:2] == ['x2.00', 'x1.00']
    assert found['MeanTeacherClassifier'][:2] == ['x2.00', 'x1.00']
    assert found['CoTrainingClassifier'] == ['x2.00', 'x2.00', 'x2.00']
    assert found['MaskSubClassifier'][:2] == ['x1.00', 'x1.00']
    share = {name: float(value[2][1:]) for name, value in found.items()}
    # The images need no gradient: a backward pass is a little less than two forward passes.
    assert 1.33 <= share['MeanTeacherClassifier'] < 1.4
    assert 1.5 < share['MaskSubClassifier'] < 1.65
    assert 1.8 < share['CosubClassifier'] <= 2  # the patches of both copies are embedded once
    assert 'machine: ' in capsys.readouterr().out
    other = folder / 'other.py'
    other.write_text(files[0].read_text().replace("'num_layers': 2", "'num_layers': 1"))
    with pytest.raises(Exception, match='different backbones'):
        run('strategy_costs', files[0], other, *args)
