"""Teachers: what they see, what is saved of them, and which are refused."""

import copy
import runpy
from pathlib import Path

import pytest
import timm
import torch
from mmpretrain.registry import MODELS

from tests.models.classifiers.strategies import batch, build, checkpoint, config, network

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp('teacher')
    checkpoint(path)
    return path


def test_the_teacher_is_no_part_of_the_student(folder):
    model = build('DistilledClassifier', folder)
    plain = MODELS.build(dict(type='ImageClassifier', **network()))
    assert model.state_dict().keys() == plain.state_dict().keys()
    assert len(list(model.parameters())) == len(list(plain.parameters()))
    teacher = model.teacher.module
    before = copy.deepcopy(teacher.state_dict())
    model.train()
    x, _, samples = batch()
    model.parse_losses(model(x, samples, mode='loss'))[0].backward()
    assert not teacher.training and not any(p.requires_grad for p in teacher.parameters())
    assert all(torch.equal(a, b) for a, b in zip(before.values(), teacher.state_dict().values()))
    assert next(teacher.parameters()).dtype == torch.double  # it moves with the student
    assert copy.deepcopy(model).teacher is model.teacher


def test_a_teacher_of_timm_sees_its_own_size_and_normalisation(folder, monkeypatch):
    """Its weights from timm's file; pixels of 0 to 255 in the student's mean and deviation."""
    torch.manual_seed(0)
    its = timm.create_model('test_vit', num_classes=5).double().eval()
    torch.save(its.state_dict(), folder / 'timm.pth')
    model = build(
        'DistilledClassifier',
        folder,
        teacher=dict(type='TimmClassifier', model_name='test_vit', num_classes=5),
        teacher_checkpoint=str(folder / 'timm.pth'),
        teacher_size=160,
        data_preprocessor=dict(mean=[100.0, 110.0, 120.0], std=[50.0, 60.0, 70.0]),
    )
    pixels = torch.rand(2, 3, 160, 160, dtype=torch.double) * 255
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in ((100, 110, 120), (50, 60, 70)))
    seen = model.teacher(model.pixels((pixels - mean) / std))
    its_mean, its_std = (
        torch.tensor(its.pretrained_cfg[name], dtype=torch.double).view(3, 1, 1)
        for name in ('mean', 'std')
    )
    torch.testing.assert_close(seen, its((pixels / 255 - its_mean) / its_std))
    small = torch.randn(2, 3, 16, 16, dtype=torch.double)
    assert model.pixels(small).shape == (2, 3, 160, 160)


def test_a_config_file_is_a_teacher(folder):
    file = folder / 'teacher.py'
    file.write_text(f'model = dict(type="ImageClassifier", **{network(24, 24)!r})\n')
    model = build('DistilledClassifier', folder, teacher=str(file))
    other = build('DistilledClassifier', folder)
    x, _, _ = batch()
    assert torch.equal(model.teacher(model.pixels(x)), other.teacher(other.pixels(x)))


def weights(folder, change) -> str:
    state = torch.load(folder / 'teacher.pth')['state_dict']
    change(state)
    torch.save(dict(state_dict=state), folder / 'changed.pth')
    return str(folder / 'changed.pth')


def narrow(state):
    state['head.fc.bias'] = state['head.fc.bias'][:3]


def other_classes():
    net = network(24, 24)
    net['head']['num_classes'] = 7
    return dict(type='ImageClassifier', **net)


@pytest.mark.parametrize(
    ('change', 'told'),
    [
        (lambda s: s.pop('backbone.ln1.weight'), r'load whole.*lacks 1 \(backbone.ln1.weight\)'),
        (lambda s: s.update(more=torch.ones(1)), r'load whole.*also holds 1 \(more\)'),
        (narrow, r"not of the teacher's architecture.*head.fc.bias"),
    ],
)
def test_a_checkpoint_that_does_not_load_whole(folder, change, told):
    cfg = config('DistilledClassifier', folder, teacher_checkpoint=weights(folder, change))
    with pytest.raises(ValueError, match=told):
        MODELS.build(cfg)


@pytest.mark.parametrize(
    ('name', 'kwargs', 'told'),
    [
        (
            'DistilledClassifier',
            dict(teacher=other_classes(), teacher_checkpoint=None),
            'has no weights: give teacher_checkpoint',
        ),
        ('DistilledClassifier', dict(teacher=dict(depth=50)), 'must be the config of a classifier'),
        ('DistilledClassifier', dict(num_submodels=0), 'num_submodels=0'),
        ('DistilledClassifier', dict(lam=1.5), r'lam=1.5 must lie in \[0, 1\]'),
        ('DistilledClassifier', dict(teacher_target='warm'), "choose 'soft' or 'hard'"),
        (
            'DistilledClassifier, cosub',
            dict(drop_path_rate=None),
            'DistilledClassifier needs stochastic depth',
        ),
        ('MeanTeacherClassifier', dict(momentum=1.5), r'momentum=1.5 must lie in \[0, 1\)'),
        ('MeanTeacherClassifier', dict(momentum_steps=0), 'belong together'),
        ('MeanTeacherClassifier', dict(momentum_start=-1.0), 'momentum_start=-1.0'),
        ('MaskSubClassifier', dict(ratio=1.0), r'ratio=1.0 must lie in \[0, 1\)'),
        ('MaskSubClassifier', dict(ratio=-0.1), r'ratio=-0.1 must lie in \[0, 1\)'),
        ('MaskSubClassifier', dict(sub='patches'), "choose 'mask' or 'path'"),
        ('MaskSubClassifier', dict(lam=-1), 'lam=-1'),
        ('MaskSubClassifier, path', dict(ratio=0.25), 'must exceed the drop rate.*0.25'),
        ('CoTrainingClassifier', dict(teacher='warm'), "choose 'soft' or 'hard'"),
    ],
)
def test_bad_arguments(folder, name, kwargs, told):
    with pytest.raises(ValueError, match=told):
        MODELS.build(config(name, folder, **kwargs))


def test_a_teacher_of_other_classes(folder):
    torch.manual_seed(0)
    teacher = MODELS.build(other_classes())
    torch.save(teacher.state_dict(), folder / 'seven.pth')
    kwargs = dict(teacher=other_classes(), teacher_checkpoint=str(folder / 'seven.pth'))
    with pytest.raises(ValueError, match='teacher has 7 classes and the student 5'):
        MODELS.build(config('DistilledClassifier', folder, **kwargs))


def test_a_mean_teacher_that_nobody_keeps(folder):
    model = build('MeanTeacherClassifier', folder)
    x, _, samples = batch()
    with pytest.raises(RuntimeError, match='MeanTeacherHook.*start_teacher'):
        model(x, samples, mode='loss')


def test_the_mean_teacher_is_a_copy_also_where_activations_are_checkpointed(folder):
    """A wrapped forward belongs to the original: a copy that called it would be the student."""
    from cosub_mm.engine.execution import checkpoint_activations

    model = build('MeanTeacherClassifier', folder)
    checkpoint_activations(model, ['backbone.layers'])
    model.start_teacher()
    x, _, samples = batch()
    taught = model.teacher(x)
    for parameter in model.parameters():
        parameter.data.mul_(1.5)
    assert torch.equal(model.teacher(x), taught)
    model.parse_losses(model(x, samples, mode='loss'))[0].backward()
    assert all(p.grad is not None for p in model.parameters())


def test_both_models_are_scored_and_their_mean(folder):
    from cosub_mm.evaluation import AccuracyBySource

    model = build('CoTrainingClassifier', folder).eval()
    assert not torch.equal(model.head.fc.weight, model.peer.head.fc.weight)
    x, labels, samples = batch(8)
    metric = AccuracyBySource(topk=1)
    metric.process(None, [sample.to_dict() for sample in model.predict(x, samples)])
    found = metric.compute_metrics(metric.results)
    p = model.head(model.backbone(x)).softmax(1)
    q = model.peer.head(model.peer.backbone(x)).softmax(1)
    expected = {'top1': p, 'peer_top1': q, 'mean_top1': p + q}
    assert found.keys() == expected.keys()
    for name, scores in expected.items():
        assert found[name] == pytest.approx(100 * (scores.argmax(1) == labels).double().mean())


def test_two_models_need_configs(folder):
    cfg = config('CoTrainingClassifier', folder)
    cfg['head'] = MODELS.build(cfg['head'])
    with pytest.raises(ValueError, match='as configs, not as modules'):
        MODELS.build(cfg)


def test_the_mean_teacher_takes_running_statistics_as_they_are(folder):
    backbone = dict(type='ResNet', depth=18, num_stages=4, out_indices=(3,), base_channels=8)
    model = build(
        'MeanTeacherClassifier',
        folder,
        backbone=backbone,
        neck=dict(type='GlobalAveragePooling'),
        head=dict(type='LinearClsHead', num_classes=5, in_channels=64),
    )
    model.start_teacher()
    x, _, samples = batch()
    model(x, samples, mode='loss')
    norm, its = model.backbone.bn1, model.teacher.module.backbone.bn1
    assert not torch.equal(norm.running_mean, its.running_mean)
    model.update_teacher()
    assert torch.equal(norm.running_mean, its.running_mean)


def test_either_of_two_models_is_written_as_a_plain_checkpoint(folder, tmp_path):
    publish = runpy.run_path(str(ROOT / 'tools/model_converters/publish_model.py'))['publish']
    model = build('CoTrainingClassifier', folder).eval()
    torch.save(dict(state_dict=model.state_dict()), tmp_path / 'both.pth')
    x, _, _ = batch()
    for member, own in (('first', model), ('second', model.peer)):
        path, _ = publish(str(tmp_path / 'both.pth'), tmp_path / f'{member}.pth', member=member)
        plain = MODELS.build(dict(type='ImageClassifier', **network())).double().eval()
        plain.load_state_dict(torch.load(path)['state_dict'], strict=True)
        assert torch.equal(plain(x), own.head(own.backbone(x)))
    with pytest.raises(ValueError, match='holds one model'):
        publish(str(folder / 'teacher.pth'), tmp_path / 'x.pth', member='first')
