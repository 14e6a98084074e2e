"""A stranger's checkpoint through every tool and every key of a config that names one."""

import runpy
from pathlib import Path

import pytest
import torch

from cosub_mm.engine.checkpoints import load_checkpoint
from cosub_mm.launch.errors import run_tool
from tools import test, train

ROOT = Path(__file__).parents[2]


class Marks:
    """Writes a file when it is unpickled."""

    def __init__(self, mark):
        self.mark = str(mark)

    def __reduce__(self):
        return open, (self.mark, 'w')


def converter(name):
    namespace = runpy.run_path(str(ROOT / f'tools/model_converters/{name}.py'))
    main = namespace['convert' if name == 'convert' else 'main']
    return lambda line: run_tool(main, line)


def train_with(key):
    def run(config, checkpoint, folder):
        options = [f'{key}={checkpoint}']
        if key.endswith('.checkpoint'):
            options.append(key.replace('.checkpoint', '.type') + '=Pretrained')
        return train.main([config, '--work-dir', f'{folder}/run', '--cfg-options', *options])

    return run


USES = {
    'test.py': lambda config, file, folder: test.main(
        [config, file, '--work-dir', f'{folder}/run']
    ),
    'train.py --resume': lambda config, file, folder: train.main(
        [config, '--work-dir', f'{folder}/run', '--resume', file]
    ),
    'load_from': train_with('load_from'),
    'model.init_cfg': train_with('model.init_cfg.checkpoint'),
    'model.backbone.init_cfg': train_with('model.backbone.init_cfg.checkpoint'),
    'model.head.init_cfg': train_with('model.head.init_cfg.checkpoint'),
    'model.pretrained': train_with('model.pretrained'),
    'publish_model.py': lambda _, file, folder: converter('publish_model')(
        [file, f'{folder}/o.pth']
    ),
    'convert.py': lambda _, file, folder: converter('convert')(
        [file, f'{folder}/o.pth', '--to', 'mmpretrain']
    ),
    'export_onnx.py': lambda config, file, folder: converter('export_onnx')(
        [config, file, f'{folder}/o.onnx']
    ),
}


@pytest.fixture
def evil(trained_classifier, tmp_path):
    """A real checkpoint with an object in it that leaves a mark; its path and the mark's."""
    checkpoint = load_checkpoint(str(trained_classifier / 'epoch_1.pth'))
    checkpoint['meta']['extra'] = Marks(tmp_path / 'mark')
    torch.save(checkpoint, tmp_path / 'evil.pth')
    return str(tmp_path / 'evil.pth'), tmp_path / 'mark'


@pytest.mark.parametrize('use', USES)
def test_no_code_runs(classification, evil, tmp_path, capsys, use):
    path, mark = evil
    assert USES[use](str(classification), path, str(tmp_path)) == 2
    error = capsys.readouterr().err.rpartition('error: ')[2]
    assert f"'{path}' holds more than data" in error and 'open' in error
    assert '--trust-checkpoint' in error and len(error.strip().splitlines()) == 1
    assert not mark.exists()
    assert not [*tmp_path.glob('o*.pth'), *tmp_path.glob('o.onnx'), *tmp_path.glob('run/*.pth')]


@pytest.mark.parametrize('use', ['test.py', 'publish_model.py'])
def test_trusted_code_runs(classification, evil, tmp_path, use):
    path, mark = evil
    if use == 'test.py':
        line = [str(classification), path, '--work-dir', str(tmp_path / 'run')]
        assert test.main([*line, '--trust-checkpoint']) == 0
    else:
        line = [path, str(tmp_path / 'o.pth'), '--trust-checkpoint']
        assert converter('publish_model')(line) == 0
    assert mark.exists()


def test_inferencers_of_mmpretrain_and_mmseg(
    classification, segmentation, trained_segmentor, evil, tmp_path
):
    """They load through mmengine, where our loader stands."""
    from mmpretrain import ImageClassificationInferencer
    from mmseg.apis import MMSegInferencer

    path, mark = evil
    with pytest.raises(ValueError, match='holds more than data'):
        ImageClassificationInferencer(str(classification), pretrained=path, device='cpu')
    checkpoint = load_checkpoint(str(trained_segmentor / 'iter_30.pth'))
    checkpoint['message_hub']['runtime_info']['extra'] = Marks(mark)
    torch.save(checkpoint, path)
    with pytest.raises(ValueError, match='holds more than data'):
        MMSegInferencer(str(segmentation), weights=path, device='cpu')
    assert not mark.exists()
