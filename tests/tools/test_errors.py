"""Every tool says an error of its user in the same way: one line, exit code 2."""

import runpy
import sys
from pathlib import Path

import pytest
import torch
from mmengine.logging import HistoryBuffer

from cosub_mm.engine.finite.batch_dump import read_dump
from cosub_mm.launch.config import load_config
from cosub_mm.launch.errors import UserError, run_tool

TOOLS = Path(__file__).parents[2] / 'tools'
CONFIG = 'configs/cosub/vit-b_in21k.py'
MISSPELT = ('--cfg-options', 'optim_wraper.optimizer.lr=1')
NO_CONFIG = ('no_such_config.py',)
SEGMENTATION = 'configs/demo/upernet_cosub_scenes.py'
FOLDER = str(Path(__file__).parent)
MEASURED = {'--rounds': '0', '--batch': '0', '--device': 'abacus', '--out': __file__}
# script -> arguments that are wrong in different ways
WRONG = {
    'train.py': [NO_CONFIG, (CONFIG, *MISSPELT), (CONFIG, '--work-dir', __file__)],
    'test.py': [
        (*NO_CONFIG, 'no_such.pth'),
        (CONFIG, 'no_such.pth'),
    ],
    'demo.py': [('--work-dir', __file__)],
    'soak.py': [('--minutes', '-1'), ('--epochs', '0'), ('--work-dir', __file__)],
    'analysis_tools/benchmark_host.py': [('--rounds', '0'), ('--images', '0')],
    'analysis_tools/benchmark_loading.py': [
        NO_CONFIG,
        (CONFIG, *MISSPELT),
    ],
    'analysis_tools/benchmark_segmentation.py': [
        NO_CONFIG,
        (CONFIG, *MISSPELT),
        (CONFIG,),
    ],
    'analysis_tools/benchmark_startup.py': [('x', '--images', '0'), (__file__,)],
    'analysis_tools/benchmark_stochastic_depth.py': [
        ('--rates', '1.2'),
        ('--table7',),
        ('--output', __file__),
        ('--device', 'abacus'),
        ('--model', 'test_vit', '--model-args', 'misspelt=1'),
    ],
    'analysis_tools/benchmark_training.py': [
        (*NO_CONFIG, '--timm', 'test_vit', '--work-dir', 'no_folder'),
        (CONFIG, '--timm', 'test_vit', '--work-dir', 'no_folder', '--images', '7'),
    ],
    'analysis_tools/check_miou.py': [
        (*NO_CONFIG, 'no_folder'),
        (SEGMENTATION, 'no_folder', '--data-root', 'no_data'),
    ],
    'analysis_tools/coverage_stochastic_depth.py': [
        ('--update', '--output', 'no_such.md'),
        ('--output', FOLDER),
    ],
    'analysis_tools/drop_rate_quantization.py': [
        ('--rates', '1.5'),
        ('--draws', '0'),
        ('--draws', '1', '--out', FOLDER),
    ],
    'analysis_tools/get_flops.py': [
        NO_CONFIG,
        (CONFIG, *MISSPELT),
        (CONFIG, '--shape', '0', '224'),
        (CONFIG, '--shape', '7', '7'),
    ],
    'analysis_tools/launch_plan.py': [
        (*NO_CONFIG, '--gpus', '8'),
        (CONFIG, '--gpus', '8', '--largest', '256', '--cpus', '0'),
    ],
    'analysis_tools/make_config_table.py': [('--root', 'no_such_root')],
    'analysis_tools/model_costs.py': [NO_CONFIG],
    'analysis_tools/overfitting.py': [('--metrics', 'no_such'), ('--out', __file__)],
    'analysis_tools/replay_batch.py': [('no_such_dump.pth',)],
    'analysis_tools/strategy_costs.py': [NO_CONFIG],
    'analysis_tools/study.py': [('--jobs', '0'), ('--seeds', '0', '--report')],
    'analysis_tools/submodel_accuracy.py': [
        ('--model', *NO_CONFIG, 'no_such.pth', 'x'),
        ('--model', SEGMENTATION, 'no_such.pth', 'x'),
    ],
    'dataset_converters/ade20k.py': [
        ('no_such.zip',),
        (__file__,),
    ],
    'dataset_converters/make_demo_data.py': [('--out', __file__)],
    'dataset_converters/prepare_imagenet21k.py': [('no_such_folder',)],
    'dataset_converters/verify_dataset.py': [
        NO_CONFIG,
        (CONFIG, *MISSPELT),
        (CONFIG, '--report', FOLDER),
        (CONFIG, '--workers', '0'),
    ],
    'model_converters/convert.py': [('no_such.pth', 'out.pth', '--to', 'timm')],
    'model_converters/export_onnx.py': [
        (*NO_CONFIG, 'no_such.pth', 'out.onnx'),
        (SEGMENTATION, 'no_such.pth', 'out.onnx'),
    ],
    'model_converters/publish_model.py': [('no_such.pth', 'out.pth')],
}
CASES = [
    pytest.param(tool, line, id=f'{Path(tool).stem} {i}')
    for tool, lines in WRONG.items()
    for i, line in enumerate(lines)
]


def test_no_tool_is_left_out():
    scripts = [path for path in TOOLS.rglob('*.py') if "'__main__'" in path.read_text()]
    assert {str(path.relative_to(TOOLS)) for path in scripts} == set(WRONG)


@pytest.mark.parametrize(('tool', 'line'), CASES)
def test_a_wrong_argument_is_one_line_and_2(tool, line, monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)  # what a tool writes by default
    monkeypatch.setattr(sys, 'argv', [str(TOOLS / tool), *line])
    with pytest.raises(SystemExit) as stop:
        runpy.run_path(str(TOOLS / tool), run_name='__main__')
    error = capsys.readouterr().err
    assert stop.value.code == 2, error
    assert error.count('error: ') == 1 and 'Traceback' not in error, error


# What is judged as the command line is read: script, what it needs besides, option -> wrong value.
VALUES = [
    ('test.py', (CONFIG, 'x.pth'), {'--max-image-pixels': '0'}),
    ('analysis_tools/benchmark_loading.py', (CONFIG,), {'--rounds': '0', '--gpu-rate': 'nan'}),
    ('analysis_tools/benchmark_segmentation.py', (SEGMENTATION,), {'--steps': '0', '--crop': '0'}),
    ('analysis_tools/model_costs.py', (CONFIG,), MEASURED),
    ('analysis_tools/strategy_costs.py', (CONFIG,), MEASURED),
    (
        'analysis_tools/submodel_accuracy.py',
        ('--model', CONFIG, 'x.pth', 'label'),
        {'--draws': '0', '--images': '-1', '--device': 'abacus', '--out': __file__},
    ),
    ('dataset_converters/ade20k.py', ('x.zip',), {'--out': __file__}),
    ('dataset_converters/prepare_imagenet21k.py', (FOLDER,), {'--workers': '0'}),
]


@pytest.mark.parametrize(
    ('tool', 'line', 'option', 'value'),
    [(tool, line, *pair) for tool, line, wrong in VALUES for pair in wrong.items()],
)
def test_a_wrong_value_is_said_before_the_work(tool, line, option, value, monkeypatch, capsys):
    monkeypatch.setattr(sys, 'argv', [str(TOOLS / tool), *line, option, value])
    with pytest.raises(SystemExit) as stop:
        runpy.run_path(str(TOOLS / tool), run_name='__main__')
    assert stop.value.code == 2
    assert f'error: argument {option}: ' in capsys.readouterr().err


@pytest.mark.parametrize('code', ['1 / 0', 'raise RuntimeError', '(', '_base_ = "absent.py"'])
def test_a_config_whose_own_code_fails(code, tmp_path):
    config = tmp_path / 'config.py'
    config.write_text(code)
    with pytest.raises((ValueError, OSError), match='config.py|absent.py'):
        load_config(str(config))


def test_a_dump_that_is_none_is_said_in_one_line(tmp_path):
    torch.save({'message_hub': HistoryBuffer()}, tmp_path / 'epoch_1.pth')
    with pytest.raises(ValueError, match='epoch_1.pth') as caught:
        read_dump(tmp_path / 'epoch_1.pth')
    assert '\n' not in str(caught.value) and 'weights_only' not in str(caught.value)


def test_a_result_that_is_no_error_has_its_own_code(capsys):
    assert run_tool(lambda argv: 1) == 1
    assert run_tool(lambda argv: True) == 0  # what a run returns otherwise is not for the shell
    assert run_tool(lambda argv: None) == 0
    assert capsys.readouterr().err == ''

    def wrong(argv):
        raise UserError('no such thing')

    assert run_tool(wrong) == 2
    assert capsys.readouterr().err == 'error: no such thing\n'
