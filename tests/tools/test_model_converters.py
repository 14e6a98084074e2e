"""The command lines of tools/model_converters, and what a trained model can be used for."""

import argparse
import re
import runpy
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from mmpretrain import ImageClassificationInferencer
from mmpretrain.registry import MODELS
from PIL import Image

import cosub_mm  # noqa: F401
from cosub_mm.architectures.position_grid import noted_grid
from cosub_mm.engine.checkpoints import check_pretrained
from cosub_mm.launch.errors import run_tool

ROOT = Path(__file__).parents[2]
TOOLS = {
    name: runpy.run_path(str(ROOT / f'tools/model_converters/{name}.py'))
    for name in ('convert', 'export_onnx', 'publish_model')
}
VIT = dict(img_size=32, embed_dim=32, depth=2, num_heads=2, mlp_ratio=2, num_classes=3)


def _run(tool, *arguments):
    main = TOOLS[tool]['convert' if tool == 'convert' else 'main']
    return run_tool(main, [str(argument) for argument in arguments])


def _checkpoint(trained_classifier):
    return trained_classifier / 'epoch_2.pth'


@pytest.fixture
def deit_file(tmp_path):
    """A file as the DeiT repository leaves it: names of models_v2, arguments of the run."""
    model = timm.create_model('deit3_small_patch16_224', patch_size=8, **VIT)
    weights = {
        key.replace('ls1.gamma', 'gamma_1').replace('ls2.gamma', 'gamma_2'): value
        for key, value in model.state_dict().items()
    }
    path = tmp_path / 'deit.pth'
    torch.save(dict(model=weights, args=argparse.Namespace(lr=3e-3), epoch=799), path)
    return path, model.eval()


def test_file_of_the_deit_repository(deit_file, classification, tmp_path, capsys):
    path, source = deit_file
    target = tmp_path / 'mm.pth'
    assert _run('convert', path, target, '--to', 'mmpretrain') == 0
    assert 'vit:' in capsys.readouterr().out
    weights = torch.load(target, weights_only=True)['state_dict']
    backbone = MODELS.build(
        dict(
            type='CosubViT',
            arch=dict(embed_dims=32, num_layers=2, num_heads=2, feedforward_channels=64),
            img_size=32,
            patch_size=8,
        )
    ).eval()
    own = {k.removeprefix('backbone.'): v for k, v in weights.items() if k.startswith('backbone.')}
    backbone.load_state_dict(own)
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        expected = source.forward_head(source.forward_features(images), pre_logits=True)
        torch.testing.assert_close(backbone(images)[0], expected)

    again = tmp_path / 'again.pth'
    assert _run('convert', target, again, '--to', 'deit') == 0
    original = torch.load(path, weights_only=False)['model']
    returned = torch.load(again, weights_only=True)['model']
    assert returned.keys() == original.keys()
    assert all(torch.equal(returned[k], original[k]) for k in original)


def test_another_architecture_or_patch_size(deit_file, tmp_path, capsys):
    path, _ = deit_file
    config = ROOT / 'configs/cosub/vit-s_in1k.py'
    arguments = [path, tmp_path / 'out.pth', '--to', 'mmpretrain', '--config', config]
    assert _run('convert', *arguments) == 2
    assert 'another architecture or patch size' in capsys.readouterr().err
    assert not (tmp_path / 'out.pth').exists()
    torch.save(dict(a=torch.zeros(1)), path)
    assert _run('convert', *arguments) == 2
    assert 'no known architecture' in capsys.readouterr().err
    path.write_bytes(path.read_bytes()[:100])
    assert _run('convert', *arguments) == 2
    assert 'truncated' in capsys.readouterr().err
    assert _run('convert', 'timm:vit_enormous', tmp_path / 'o.pth', '--to', 'mmpretrain') == 2
    assert "no model 'vit_enormous'" in capsys.readouterr().err


def test_by_name_from_the_hub(tmp_path, monkeypatch, capsys):
    model = timm.create_model('deit3_small_patch16_224', patch_size=8, **VIT)
    asked = []

    def create(name, pretrained):
        asked.append((name, pretrained))
        if name.startswith('vit'):
            raise ConnectionError('no route to host')
        return model

    monkeypatch.setattr(timm, 'create_model', create)
    to = ('--to', 'mmpretrain')
    assert _run('convert', 'timm:deit3_small_patch16_224', tmp_path / 'out.pth', *to) == 0
    assert asked == [('deit3_small_patch16_224', True)]
    weights = torch.load(tmp_path / 'out.pth', weights_only=True)['state_dict']
    assert torch.equal(weights['backbone.cls_token'], model.cls_token)
    assert _run('convert', 'timm:vit_base_patch16_224', tmp_path / 'other.pth', *to) == 2
    assert 'Without a network, give the path' in capsys.readouterr().err


def test_training_refuses_weights_of_another_patch_size(tmp_path):
    """Everything but the patch embedding would fit, and that would stay random."""
    from mmengine.config import Config

    arch = dict(embed_dims=32, num_layers=2, num_heads=2, feedforward_channels=64)
    cfg = dict(type='CosubViT', arch=arch, img_size=32)
    torch.save(MODELS.build(dict(cfg, patch_size=16)).state_dict(), tmp_path / 'p16.pth')
    init_cfg = dict(type='Pretrained', checkpoint=str(tmp_path / 'p16.pth'))
    model = MODELS.build(dict(cfg, patch_size=8, init_cfg=init_cfg))
    with pytest.raises(ValueError, match='patch size is 16 in the checkpoint and 8 in the model'):
        check_pretrained(Config(), model)


def test_publish(trained_classifier, tmp_path, capsys):
    source = _checkpoint(trained_classifier)
    assert _run('publish_model', source, tmp_path / 'out' / 'raw.pth') == 0
    (file,) = (tmp_path / 'out').iterdir()
    published = torch.load(file, weights_only=True)
    weights = torch.load(source, weights_only=False)['state_dict']
    assert published['state_dict'].keys() == weights.keys()
    assert all(torch.equal(published['state_dict'][k], weights[k]) for k in weights)
    # What a test of the file compares with: the classes and the model.
    assert published['meta']['dataset_meta']['classes'] == ('a', 'b', 'c')
    assert 'CosubViT' in published['meta']['cfg']
    capsys.readouterr()
    assert _run('publish_model', source, tmp_path / 'x.pth', '--ema') == 2
    assert 'no averaged weights' in capsys.readouterr().err


def test_onnx_gives_the_same_scores(classification, trained_classifier, tmp_path, capsys):
    target = tmp_path / 'model.onnx'
    assert _run('export_onnx', classification, _checkpoint(trained_classifier), target) == 0
    assert 'images (batch, 3, 32, 32)' in capsys.readouterr().out
    model, shape = TOOLS['export_onnx']['load'](
        str(classification), str(_checkpoint(trained_classifier))
    )
    assert TOOLS['export_onnx']['difference'](model, shape, target) < 1e-4
    import onnxruntime

    session = onnxruntime.InferenceSession(str(target))
    for batch in (1, 5):
        (scores,) = session.run(None, {'images': np.zeros((batch, 3, 32, 32), np.float32)})
        assert scores.shape == (batch, 3)


def test_inferencer_reads_a_published_model(
    classification, trained_classifier, classes_root, tmp_path
):
    _run('publish_model', _checkpoint(trained_classifier), tmp_path / 'm.pth')
    (weights,) = tmp_path.glob('m-*.pth')
    inferencer = ImageClassificationInferencer(
        str(classification), pretrained=str(weights), classes=['a', 'b', 'c'], device='cpu'
    )
    files = sorted(map(str, classes_root.glob('val/*/*.png')))
    results = inferencer(files, batch_size=4)
    model, _ = TOOLS['export_onnx']['load'](
        str(classification), str(_checkpoint(trained_classifier))
    )
    pixels = torch.stack([torch.from_numpy(np.array(Image.open(f))) for f in files])
    with torch.no_grad():
        expected = model((pixels.permute(0, 3, 1, 2).float() - 127.5) / 64).softmax(dim=1)
    scores = torch.from_numpy(np.stack([result['pred_scores'] for result in results]))
    torch.testing.assert_close(scores, expected, rtol=1e-4, atol=1e-5)
    assert [r['pred_class'] for r in results] == ['abc'[i] for i in expected.argmax(dim=1)]


def test_a_grid_that_is_not_square_is_asked_for_and_stays(tmp_path, capsys):
    options = dict(img_size=(256, 128), embed_dim=192, depth=1, num_heads=3, num_classes=3)
    model = timm.create_model('vit_tiny_patch16_224', **options)
    source, target = tmp_path / 'in.pth', tmp_path / 'out.pth'
    torch.save(model.state_dict(), source)
    line = ('convert', source, target, '--to', 'mmpretrain')
    assert _run(*line) == 2
    told = capsys.readouterr().err
    assert told.startswith('error: while converting') and '--grid ROWS COLUMNS' in told
    assert not target.exists()
    assert _run(*line, '--grid', 16, 8) == 0
    assert '16x8 patches, which the file says' in capsys.readouterr().out
    assert _run('publish_model', target, tmp_path / 'published.pth') == 0
    (path,) = tmp_path.glob('published-*.pth')
    weights = torch.load(path, weights_only=True)['state_dict']
    assert weights['backbone.pos_embed'].shape[1] == 128
    assert noted_grid(weights._metadata['backbone']) == (16, 8)


@pytest.mark.parametrize(
    ('tool', 'arguments'),
    [
        ('publish_model', ('absent.pth', '/proc/out.pth')),
        ('convert', ('absent.pth', '/proc/out.pth', '--to', 'timm')),
        ('export_onnx', ('absent.py', 'absent.pth', '/proc/out.onnx')),
    ],
)
def test_a_target_that_cannot_be_written_is_said_before_the_work(tool, arguments, capsys):
    assert _run(tool, *arguments) == 2
    assert re.search("target '/proc.* cannot be written: /proc", capsys.readouterr().err)


ABSENT = {
    'convert': ('absent.pth', '--to', 'timm'),
    'export_onnx': ('absent.py', 'absent.pth'),
    'publish_model': ('absent.pth',),
}


def _with_target(tool: str, target) -> tuple:
    place = 1 if tool == 'convert' else len(ABSENT[tool])
    return (*ABSENT[tool][:place], target, *ABSENT[tool][place:])


@pytest.mark.parametrize('tool', ABSENT)
def test_a_folder_in_the_place_of_the_target(tool, tmp_path, capsys):
    assert _run(tool, *_with_target(tool, tmp_path)) == 2
    assert f"target '{tmp_path}' names a file, but is a folder" in capsys.readouterr().err


@pytest.mark.parametrize('tool', ['convert', 'export_onnx'])
def test_a_target_that_is_there_is_not_written_over(tool, tmp_path, capsys):
    target = tmp_path / 'epoch_300.pth'  # perhaps the training checkpoint itself
    target.write_text('mine')
    assert _run(tool, *_with_target(tool, target)) == 2
    assert 'exists already and is not written over' in capsys.readouterr().err
    assert target.read_text() == 'mine'


def test_a_conversion_that_fails_leaves_no_part(trained_classifier, tmp_path, monkeypatch):
    def fail(content, file):
        Path(file).write_text('half')
        raise OSError('no space left')

    model = timm.create_model('deit3_small_patch16_224', patch_size=8, **VIT)
    torch.save(model.state_dict(), tmp_path / 'in.pth')
    monkeypatch.setattr(torch, 'save', fail)
    with pytest.raises(OSError, match='no space left'):
        _run('convert', tmp_path / 'in.pth', tmp_path / 'out.pth', '--to', 'mmpretrain')
    assert [path.name for path in tmp_path.iterdir()] == ['in.pth']


def test_a_config_that_is_shipped_is_found_from_anywhere(
    trained_classifier, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    checkpoint, config = _checkpoint(trained_classifier), 'configs/cosub/vit-b_in1k.py'
    assert _run('export_onnx', config, checkpoint, 'out.onnx') == 2
    assert 'is of another architecture than the config' in capsys.readouterr().err
