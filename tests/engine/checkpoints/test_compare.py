"""Models whose tensors fit and that compute something else."""

import copy

import pytest
from mmengine.config import Config

import cosub_mm  # noqa: F401
from cosub_mm.engine.checkpoints import (
    NotAccepted,
    check_start_model,
    check_tested_model,
    parse_config,
)

CLASSIFIER = dict(
    model=dict(
        type='CosubClassifier',
        lam=0.5,
        backbone=dict(
            type='CosubViT',
            arch=dict(embed_dims=32, num_layers=2, num_heads=2, feedforward_channels=64),
            img_size=32,
            patch_size=8,
            drop_path_rate=0.3,
        ),
        head=dict(type='LinearClsHead', in_channels=32, loss=dict(type='CrossEntropyLoss')),
    ),
    data_preprocessor=dict(num_classes=3, mean=[127.5] * 3, std=[64.0] * 3, to_rgb=True),
)


def changed(changes):
    cfg = Config(copy.deepcopy(CLASSIFIER))
    cfg.merge_from_dict(changes)
    return cfg


def checkpoint(cfg):
    return dict(meta=dict(cfg=cfg.pretty_text))


WRONG = {
    'model.backbone.arch.num_heads': 4,
    'model.backbone.patch_cfg.padding': 'corner',
    'model.backbone.norm_cfg.eps': 1e-3,
    'model.backbone.interpolate_mode': 'bilinear',
    'model.backbone.out_type': 'avg_featmap',
    'model.backbone.final_norm': False,
    'model.backbone.type': 'DeiT3',
    'model.head.type': 'MultiLabelLinearClsHead',
    'data_preprocessor.mean': [0.0] * 3,
    'data_preprocessor.std': [1.0] * 3,
    'data_preprocessor.to_rgb': False,
}


@pytest.mark.parametrize('path', WRONG)
def test_what_no_tensor_tells_stops_a_test(path):
    now = changed({path: WRONG[path]})
    shown = path if path.startswith('model') else f'model.{path}'
    for trained, tested in ((changed({}), now), (now, changed({}))):
        with pytest.raises(NotAccepted) as error:
            check_tested_model(checkpoint(trained), 'a.pth', tested, ())
        assert f'{shown} was ' in str(error.value) and '--accept other-model' in str(error.value)
        assert repr(WRONG[path]) in str(error.value)
        check_tested_model(checkpoint(trained), 'a.pth', tested, ['other-model'])


@pytest.mark.parametrize(
    'changes',
    [
        {'model.type': 'ImageClassifier'},
        {'model.backbone.drop_path_rate': 0.0, 'model.backbone.init_cfg': dict(type='Constant')},
        {'model.backbone.type': 'mmpretrain.CosubViT'},
        {'model.head.loss.type': 'LabelSmoothLoss', 'model.head.topk': (1, 5)},
        {'model.backbone.interpolate_mode': 'bicubic', 'model.backbone.final_norm': True},
        {'data_preprocessor.batch_augments': dict(augments=[]), 'data_preprocessor.to_onehot': 1},
        {'data_preprocessor.mean': (127.5, 127.5, 127.5)},
    ],
)
def test_what_only_training_uses_or_is_the_default_passes(changes):
    now = changed(changes)
    check_tested_model(checkpoint(changed({})), 'a.pth', now, ())
    check_tested_model(checkpoint(now), 'a.pth', changed({}), ())


def test_names_of_architectures_wrappers_and_places_mean_the_same():
    named = changed({})
    named.model.backbone.arch = 's'
    sizes = copy.deepcopy(named)
    sizes.model.backbone.arch = dict(
        embed_dims=384, num_layers=12, num_heads=6, feedforward_channels=1536
    )
    check_tested_model(checkpoint(named), 'a.pth', sizes, ())
    sizes.model.backbone.arch.num_heads = 12
    with pytest.raises(NotAccepted, match='num_heads was 6 in training and is 12'):
        check_tested_model(checkpoint(named), 'a.pth', sizes, ())
    wrapped = changed({})
    wrapped.model.backbone = dict(type='CosubBackbone', backbone=wrapped.model.backbone)
    wrapped.model.data_preprocessor = wrapped.pop('data_preprocessor')
    augmented = copy.deepcopy(wrapped)
    augmented.model = dict(type='AverageClsScoreTTA', module=wrapped.model)
    for cfg in (wrapped, augmented):
        check_tested_model(checkpoint(changed({})), 'a.pth', cfg, ())


def test_another_size_is_said(monkeypatch):
    said = []
    place = 'cosub_mm.engine.checkpoints.compare.print_log'
    monkeypatch.setattr(place, lambda text, **_: said.append(text))
    check_tested_model(
        checkpoint(changed({})), 'a.pth', changed({'model.backbone.img_size': 64}), ()
    )
    check_tested_model(dict(state_dict={}), 'b.pth', changed({}), ())
    assert said[0] == 'a.pth: model.backbone.img_size was 32 in training and is 64'
    assert said[1].startswith('b.pth records no config')


@pytest.mark.parametrize(
    'changes, stops',
    [
        ({'model.backbone.arch.num_heads': 4}, True),
        ({'model.backbone.norm_cfg.eps': 1e-3}, True),
        # These are what fine-tuning and segmentation change.
        ({'model.backbone.out_type': 'featmap', 'model.backbone.final_norm': False}, False),
        ({'model.backbone.patch_cfg': dict(padding='corner')}, False),
        ({'model.backbone.img_size': 64, 'model.head.type': 'VisionTransformerClsHead'}, False),
        ({'model.neck.type': 'Feature2Pyramid', 'data_preprocessor.mean': [0.0] * 3}, False),
    ],
)
def test_weights_to_start_from(changes, stops):
    arguments = checkpoint(changed({})), 'a.pth', changed(changes)
    if stops:
        with pytest.raises(NotAccepted, match='model.backbone'):
            check_start_model(*arguments, ())
    check_start_model(*arguments, ['other-model'] if stops else ())


def test_recorded_configs_are_read_as_data(tmp_path):
    cfg = Config.fromfile('configs/cosub/vit-s_in1k.py')
    assert parse_config(cfg.pretty_text) == cfg.to_dict()
    text = (
        'a = dict(b=-1, c=float("inf"), d={1, 2}, e=torch.optim.SGD, f={1: (1,), **dict({2: 3})})'
    )
    values = dict(b=-1, c=float('inf'), d={1, 2}, e='torch.optim.SGD', f={1: (1,), 2: 3})
    text, values['i'] = text.replace('b=-1', 'b=-1, i=range(4)'), range(4)
    assert parse_config(text) == {'a': values}
    mark = tmp_path / 'mark'
    for program in (
        f'a = open({str(mark)!r}, "w")',
        f'import pathlib\npathlib.Path({str(mark)!r}).touch()',
        f'a = [open({str(mark)!r}, "w") for _ in (1,)]',
        'a = 1 +',
        'a = ' + '(' * 5000,
    ):
        with pytest.raises(ValueError, match='plain value|assignment|not a config'):
            parse_config(program)
    assert not mark.exists()
