"""MaskSub: which tokens and branches the second pass sees, and what its passes cost."""

from weakref import WeakSet

import pytest
import torch
from mmpretrain.registry import MODELS

from cosub_mm.engine.execution import checkpoint_activations
from cosub_mm.models.two_passes import backward_now
from tests.models.classifiers.strategies import batch, build, config, network


def seen_by(block) -> list[torch.Size]:
    shapes = []
    block.register_forward_pre_hook(lambda module, args: shapes.append(args[0]))
    return shapes


BACKBONES = {
    'CosubViT': (network()['backbone'], 'layers', 16, 1),
    'mean of the patches': (dict(network()['backbone'], out_type='avg_featmap'), 'layers', 16, 1),
    'VisionTransformer': (
        dict(
            type='VisionTransformer', arch=network()['backbone']['arch'], img_size=16, patch_size=4
        ),
        'layers',
        16,
        1,
    ),
    'timm, registers': (
        dict(
            type='CosubTIMMBackbone', model_name='test_vit', img_size=16, patch_size=4, reg_tokens=3
        ),
        'timm_model.blocks',
        64,
        4,
    ),
}


@pytest.mark.parametrize('name', BACKBONES)
@pytest.mark.parametrize(('ratio', 'kept'), [(0.5, 8), (0.7, 4), (0.99, 1)])
def test_the_second_pass_sees_some_patches_of_each_image(name, ratio, kept, tmp_path):
    backbone, blocks, width, prefix = BACKBONES[name]
    head = dict(type='LinearClsHead', num_classes=5, in_channels=width)
    model = build('MaskSubClassifier', tmp_path, backbone=backbone, head=head, ratio=ratio)
    seen = seen_by(model.backbone.get_submodule(blocks)[0])
    x, _, samples = batch(6)
    losses = model(x, samples, mode='loss')
    main, sub = seen
    assert main.shape == (6, prefix + 16, width) and sub.shape == (6, prefix + kept, width)
    assert torch.equal(main[:, :prefix], sub[:, :prefix])
    places = torch.cdist(sub[:, prefix:], main[:, prefix:]).argmin(2)
    assert torch.equal(
        main.gather(1, (places + prefix)[..., None].expand(-1, -1, width)), sub[:, prefix:]
    )
    assert all(len(set(row)) == kept for row in places.tolist())
    assert len({tuple(sorted(row)) for row in places.tolist()}) > 1
    model.parse_losses(losses)[0].backward()
    assert all(p.grad is not None for key, p in model.named_parameters())
    seen.clear()
    model.eval().predict(x)
    assert seen[0].shape[1] == prefix + 16


class Saved:
    """A tensor that the graph keeps for its backward pass."""

    def __init__(self, tensor):
        self.tensor = tensor


def test_the_first_pass_gives_its_memory_back_before_the_second(tmp_path):
    """Of all that the main pass saved nothing is left when the second begins."""
    model, kept, at_start = build('MaskSubClassifier', tmp_path), WeakSet(), []

    def pack(tensor):
        saved = Saved(tensor)
        kept.add(saved)
        return saved

    model.backbone.register_forward_pre_hook(lambda module, args: at_start.append(len(kept)))
    x, _, samples = batch()
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda saved: saved.tensor):
        losses = model(x, samples, mode='loss')
    assert at_start == [0, 0] and len(kept) > 20
    model.parse_losses(losses)[0].backward()
    assert not kept


def test_a_loss_that_is_differentiated_now_and_added_later():
    """Weights that come in, parts that are frozen or unused, and what the scaler needs."""
    used, frozen, unused = (torch.nn.Parameter(torch.ones(2, dtype=torch.double)) for _ in range(3))
    frozen.requires_grad_(False)

    def loss():
        return (used**3 * frozen).sum()

    total = 0.5 * backward_now(loss(), [used, frozen, unused]) + used.sum()
    total.backward()
    assert total.item() == 3 and used.grad.tolist() == [2.5, 2.5]
    assert frozen.grad is None and unused.grad is None
    computed = backward_now(loss(), [used])
    computed.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match='differentiated once only'):
        computed.backward()
    with torch.autocast('cpu', dtype=torch.float16):
        kept = loss()
        assert backward_now(kept, [used]) is kept


SWIN = dict(
    type='SwinTransformer',
    arch=dict(embed_dims=12, depths=[1, 1], num_heads=[2, 2]),
    img_size=32,
    window_size=4,
    out_indices=(1,),
)


@pytest.mark.parametrize(
    ('backbone', 'told'),
    [
        (SWIN, "SwinTransformer has none.*Use sub='path'"),
        (dict(type='CosubTIMMBackbone', model_name='resnet18'), 'ResNet has none'),
        (dict(network()['backbone'], out_type='featmap'), "out_type='featmap'.*avg_featmap"),
        (dict(network()['backbone'], pre_norm=True), 'in the place of pre_norm.*LayerNorm'),
    ],
)
def test_tokens_that_cannot_be_removed(backbone, told, tmp_path):
    cfg = config('MaskSubClassifier', tmp_path, backbone=backbone, drop_path_rate=None)
    with pytest.raises(ValueError, match=told):
        MODELS.build(cfg)


def test_path_sub_on_a_convnet_that_drops_nothing_in_the_main_pass(tmp_path):
    backbone = dict(type='ResNet', depth=18, num_stages=4, out_indices=(3,), base_channels=8)
    model = build(
        'MaskSubClassifier, path',
        tmp_path,
        backbone=backbone,
        neck=dict(type='GlobalAveragePooling'),
        head=dict(type='LinearClsHead', num_classes=5, in_channels=64),
        drop_path_rate=None,
    )
    rows = seen_by(model.backbone.layer4[1].conv1)
    x, _, samples = batch(8)
    model.parse_losses(model(x, samples, mode='loss'))[0].backward()
    assert [len(r) for r in rows] in ([8, 4], [8, 8])  # 'auto' may mask convolutions on a CPU
    assert all(p.grad is not None for p in model.parameters())


def test_path_sub_without_residual_branches(tmp_path):
    cfg = config(
        'MaskSubClassifier, path',
        tmp_path,
        backbone=dict(type='VGG', depth=11),
        drop_path_rate=None,
    )
    with pytest.raises(ValueError, match='No residual branch was found in VGG'):
        MODELS.build(cfg)


def test_activation_checkpointing(tmp_path):
    """Of blocks with masked tokens equal; where the second pass could not be repeated, refused."""
    plain, checkpointed = (build('MaskSubClassifier', tmp_path) for _ in range(2))
    checkpoint_activations(checkpointed, ['backbone.layers'])
    x, _, samples = batch()
    gradients = []
    for model in (plain, checkpointed):
        torch.manual_seed(1)
        model.parse_losses(model(x, samples, mode='loss'))[0].backward()
        gradients.append([p.grad for p in model.parameters()])
    torch.testing.assert_close(*gradients, rtol=1e-10, atol=1e-14)
    for name, part in (
        ('MaskSubClassifier', 'backbone'),
        ('MaskSubClassifier, path', 'backbone.layers'),
    ):
        model = build(name, tmp_path)
        checkpoint_activations(model, [part])
        with pytest.raises(ValueError, match='activation checkpointing of .* would compute'):
            model(x, samples, mode='loss')
