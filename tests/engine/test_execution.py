"""Activation checkpointing and compilation: the same gradients, or a clear refusal."""

import copy

import pytest
import torch
from mmengine.model import BaseModel
from mmengine.registry import MODELS as ROOT
from mmengine.registry import init_default_scope
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample
from torch import nn

import cosub_mm  # noqa: F401
from cosub_mm.engine.execution import check_execution, checkpoint_activations, compile_backbone
from cosub_mm.engine.runner import CosubRunner
from cosub_mm.stochastic_depth.step.plan import Draws

ARCH = dict(embed_dims=16, num_layers=2, num_heads=2, feedforward_channels=32)
VIT = dict(type='mmpretrain.CosubViT', arch=ARCH, img_size=32, patch_size=8, drop_path_rate=0.4)
HEAD = dict(type='LinearClsHead', num_classes=3, in_channels=16)
MIXING = dict(augments=[dict(type='Mixup', alpha=0.8), dict(type='CutMix', alpha=1.0)])
CLASSIFIER = dict(
    type='CosubClassifier',
    backbone=VIT,
    head=HEAD,
    drop_path_rate=0.4,
    data_preprocessor=dict(num_classes=3, mean=[0] * 3, std=[1] * 3),
)
FCN = dict(type='FCNHead', in_channels=16, channels=8, num_convs=1, num_classes=3, dropout_ratio=0)
SEGMENTOR = dict(
    backbone=dict(VIT, out_type='featmap', out_indices=(0, 1), final_norm=False),
    decode_head=dict(FCN, in_index=1),
    auxiliary_head=dict(FCN, in_index=0),
    train_cfg=dict(),
    test_cfg=dict(mode='whole'),
)


def build(cfg: dict, scope: str = 'mmpretrain') -> nn.Module:
    init_default_scope(scope)
    registry = MODELS if scope == 'mmpretrain' else ROOT
    torch.manual_seed(0)
    model = registry.build(copy.deepcopy(cfg))
    model.init_weights()
    with torch.no_grad():  # LayerScale and tokens as after some training
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return model.double().train()


def upernet(**kwargs) -> dict:
    head = dict(type='UPerHead', in_channels=[16, 16], in_index=[0, 1], pool_scales=(1, 2))
    head.update(channels=8, num_classes=3, dropout_ratio=0, norm_cfg=dict(type='BN'))
    return dict(SEGMENTOR, type='EncoderDecoder', decode_head=head, **kwargs)


def gradients(model: nn.Module, segments: bool) -> dict[str, torch.Tensor]:
    """Of one step with seed 5, for two images."""
    images = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(1)).double()
    if segments:
        from mmengine.structures import PixelData
        from mmseg.structures import SegDataSample

        labels = torch.arange(32 * 32).view(1, 32, 32) % 3
        samples = [SegDataSample(gt_sem_seg=PixelData(data=labels)) for _ in images]
    else:
        samples = [DataSample().set_gt_label(i % 3) for i in range(4)]
    torch.manual_seed(5)
    losses = model(images, samples, mode='loss')
    model.zero_grad()
    sum(value for name, value in losses.items() if 'loss' in name).backward()
    return {name: p.grad for name, p in model.named_parameters()}


@pytest.mark.parametrize('parts', [['backbone'], 'backbone.layers', ['backbone.layers.1', 'head']])
@pytest.mark.parametrize('kind', ['cosub', 'upernet', 'cosub segmentor'])
def test_checkpointed_gradients_are_those_without(kind, parts, monkeypatch):
    # A checkpointed block draws for itself and the others draw at once: from one seed other rows.
    monkeypatch.setattr(Draws, 'take', lambda *_: None)
    segments = kind != 'cosub'
    if segments and 'head' in parts:
        last = 'convs' if 'cosub' in kind else 'bottleneck'
        parts = ['backbone.layers.1', f'decode_head.{last}']
    cfg = {
        'cosub': CLASSIFIER,
        'upernet': upernet(),
        'cosub segmentor': dict(SEGMENTOR, type='CosubSegmentor'),
    }[kind]
    scope = 'mmseg' if segments else 'mmpretrain'
    plain, model = build(cfg, scope), build(cfg, scope)
    expected = gradients(plain, segments)
    checkpoint_activations(model, parts)
    found = gradients(model, segments)
    assert found.keys() == expected.keys()
    for name, gradient in found.items():
        assert gradient is not None, f'{name} has no gradient'
        torch.testing.assert_close(gradient, expected[name], rtol=1e-9, atol=1e-13, msg=name)
    for name, buffer in model.named_buffers():  # BatchNorm counts a batch once
        torch.testing.assert_close(buffer, plain.get_buffer(name), msg=name)
    model.eval()
    with torch.no_grad():
        model.extract_feat(torch.randn(1, 3, 32, 32, dtype=torch.double))


def test_a_list_of_modules_stands_for_each_and_computes_twice():
    model = nn.Module()
    model.layers = nn.ModuleList(nn.Sequential(nn.Linear(2, 2), nn.Tanh()) for _ in range(3))
    calls = []
    for i, layer in enumerate(model.layers):
        layer[0].register_forward_pre_hook(lambda *_, i=i: calls.append(i))
    checkpoint_activations(model, ['layers', 'layers.0'])
    x = torch.randn(1, 2)
    for layer in model.layers:
        x = layer(x)
    x.sum().backward()
    assert sorted(calls) == [0, 0, 1, 1, 2, 2]


class Step(BaseModel):
    """A backbone, fed by images, and a head; the tiny model of the Runner's tests."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 4))
        self.head = nn.Linear(4, 2)

    def forward(self, inputs, mode='tensor'):
        return dict(loss=self.head(self.backbone(inputs)).square().mean())


def run(tmp_path, model: nn.Module, **cfg) -> CosubRunner:
    data = [dict(inputs=torch.randn(4)) for _ in range(4)]
    runner = CosubRunner(
        model=model,
        work_dir=str(tmp_path),
        train_dataloader=dict(
            batch_size=2,
            dataset=data,
            sampler=dict(type='DefaultSampler', shuffle=False),
            collate_fn=dict(type='default_collate'),
        ),
        train_cfg=dict(by_epoch=True, max_epochs=1),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.1)),
        default_hooks=dict(checkpoint=None),
        experiment_name=tmp_path.name,
        cfg=cfg,
    )
    runner.train()
    return runner


def test_the_runner_checkpoints_so_that_everything_is_trained(tmp_path):
    model = Step()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    run(tmp_path, model, activation_checkpointing=['backbone'])
    still = [name for name, value in model.state_dict().items() if value.equal(before[name])]
    assert not still


@pytest.mark.parametrize('option', [True, dict(backend='aot_eager'), False, None])
def test_the_runner_compiles_the_backbone_and_says_so(option, tmp_path, monkeypatch):
    compiled = []
    monkeypatch.setattr(nn.Module, 'compile', lambda module, **kw: compiled.append((module, kw)))
    model = Step()
    run(tmp_path, model, compile=option)
    log = next(tmp_path.glob('*/*.log')).read_text()
    backend = 'aot_eager' if isinstance(option, dict) else 'inductor'
    if option:
        assert compiled == [(model.backbone, {} if option is True else option)]
        assert f"pass of 'backbone' (Sequential) are compiled by {backend}" in log
    else:
        assert not compiled and 'torch.compile' not in log


def test_compiled_gradients_are_those_without():
    cfg = dict(CLASSIFIER, type='SupervisedClassifier', drop_path_rate=None)
    cfg['backbone'] = dict(VIT, drop_path_rate=0.0, arch=dict(ARCH, num_layers=1))
    model = build(cfg)
    expected = gradients(model, False)
    names = list(model.state_dict())
    compile_backbone(model, dict(backend='aot_eager', fullgraph=True))
    found = gradients(model, False)
    assert list(model.state_dict()) == names
    for name, gradient in found.items():
        torch.testing.assert_close(gradient, expected[name], rtol=1e-9, atol=1e-13, msg=name)


@torch._dynamo.config.patch(skip_fwd_side_effects_in_bwd_under_checkpoint=False)
def test_a_compiled_backbone_is_checkpointed_in_one_graph():
    found = []
    for checkpointed in (False, True):
        torch._dynamo.reset()
        model = build(dict(CLASSIFIER, backbone=dict(VIT, arch=dict(ARCH, num_layers=1))))
        if checkpointed:
            checkpoint_activations(model, 'backbone.layers')
        compile_backbone(model, dict(backend='aot_eager', fullgraph=True), checkpointed)
        found.append(gradients(model, False))
    for name, gradient in found[0].items():
        torch.testing.assert_close(found[1][name], gradient, rtol=1e-9, atol=1e-13, msg=name)


def test_a_compiled_recipe_with_mixing_trains():
    """Mixup, cutmix, duplication and the optimizer's step, as mmengine's Runner calls them."""
    from mmengine.optim import OptimWrapper

    model = build(dict(CLASSIFIER, train_cfg=MIXING)).float()
    compile_backbone(model, dict(backend='eager'))
    optimizer = OptimWrapper(torch.optim.SGD(model.parameters(), lr=0.01))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    for step in range(4):
        samples = [DataSample().set_gt_label((i + step) % 3) for i in range(4)]
        batch = dict(inputs=[torch.rand(3, 32, 32) for _ in range(4)], data_samples=samples)
        losses = model.train_step(batch, optimizer)
        assert losses['loss'].isfinite()
    still = [name for name, value in model.named_parameters() if value.equal(before[name])]
    assert not still


class Dropping(nn.Module):
    """A random operation whose result backward needs, behind something that is cheap to redo."""

    def forward(self, x):
        x = (x * 2).sin()
        return (x * (torch.rand_like(x) > 0.5)).square().cos()


@pytest.mark.parametrize('budget', [1.0, 0.0])
def test_a_memory_budget_below_one_is_refused_for_its_wrong_gradients(budget):
    """With the same seed the outputs are equal for every budget, and so should the gradients be."""
    from torch._functorch import config

    def gradient(memory_budget: float) -> torch.Tensor:
        torch._dynamo.reset()
        x = torch.linspace(0.1, 1, 4096, requires_grad=True)
        with config.patch(activation_memory_budget=memory_budget):
            torch.manual_seed(3)
            y = torch.compile(Dropping(), backend='aot_eager')(x)
        return torch.autograd.grad(y.sum(), x)[0]

    assert gradient(1.0).equal(gradient(budget)) == (budget == 1), 'torch has mended it'
    with config.patch(activation_memory_budget=budget):
        if budget == 1:
            check_execution(dict(compile=True), Step())
            return
        for refused in (
            lambda: check_execution(dict(compile=True), Step()),
            lambda: compile_backbone(Step(), {}),
        ):
            with pytest.raises(ValueError, match=r'activation_memory_budget=0.*190758'):
                refused()
        check_execution(dict(compile=False), Step())


@pytest.mark.parametrize(
    ('cfg', 'told'),
    [
        (dict(activation_checkpointing=['backbone.stage']), r"no 'backbone.stage'.*backbone, head"),
        (dict(compile='inductor'), r"compile='inductor': give True, False, or a dict"),
    ],
)
def test_what_cannot_be_followed_is_refused_before_training(cfg, told):
    with pytest.raises(ValueError, match=told):
        check_execution(cfg, Step())


def test_a_model_without_a_backbone_is_not_compiled():
    with pytest.raises(ValueError, match='Linear has no backbone'):
        check_execution(dict(compile=True), nn.Linear(2, 2))
