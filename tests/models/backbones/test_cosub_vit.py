"""CosubViT against timm's DeiT III models, and what mmpretrain's DeiT3 does wrong."""

import copy
import pickle
import sys

import pytest
import timm
import torch
from mmengine.runner import load_state_dict
from mmpretrain.models.backbones import DeiT3
from mmpretrain.registry import MODELS

import cosub_mm  # noqa: F401
from cosub_mm.models.backbones import CosubViT

TINY = dict(embed_dims=48, num_layers=3, num_heads=3, feedforward_channels=96)
TIMM_TINY = dict(embed_dim=48, depth=3, num_heads=3, mlp_ratio=2)


def to_timm(state_dict: dict) -> dict:
    """Rename parameters of CosubViT to timm's, written independently of our converters."""
    renames = [
        ('patch_embed.projection', 'patch_embed.proj'),
        ('layers.', 'blocks.'),
        ('ln1', 'norm1'),
        ('ln2', 'norm2'),
        ('attn.gamma1.weight', 'ls1.gamma'),
        ('ffn.gamma2.weight', 'ls2.gamma'),
        ('ffn.blocks.0.0', 'mlp.fc1'),
        ('ffn.blocks.1', 'mlp.fc2'),
    ]
    renamed = {}
    for name, weight in state_dict.items():
        name = 'norm' + name[3:] if name.startswith('ln1') else name
        for ours, theirs in renames:
            name = name.replace(ours, theirs)
        renamed[name] = weight
    return renamed


def randomise(model: torch.nn.Module) -> torch.nn.Module:
    """Weights far from the initial ones, so that no branch is close to zero."""
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return model.double().eval()


@pytest.mark.parametrize('patch_size', [8, 16])
@pytest.mark.parametrize('out_type, pool', [('cls_token', 'token'), ('avg_featmap', 'avg')])
def test_equals_timm_deit3(patch_size, out_type, pool):
    ours = randomise(CosubViT(TINY, img_size=48, patch_size=patch_size, out_type=out_type))
    theirs = timm.create_model(
        'deit3_small_patch16_224',
        img_size=48,
        patch_size=patch_size,
        num_classes=0,
        global_pool=pool,
        fc_norm=False,
        **TIMM_TINY,
    ).double()
    theirs.load_state_dict(to_timm(ours.state_dict()))
    theirs.eval()
    image = torch.randn(2, 3, 48, 48, dtype=torch.double, requires_grad=True)
    reference = image.detach().clone().requires_grad_()

    out, expected = ours(image)[0], theirs(reference)
    torch.testing.assert_close(out, expected, rtol=0, atol=1e-11)
    out.pow(2).sum().backward()
    expected.pow(2).sum().backward()
    torch.testing.assert_close(image.grad, reference.grad, rtol=1e-9, atol=1e-9)
    gradients = to_timm({name: p.grad for name, p in ours.named_parameters()})
    for name, parameter in theirs.named_parameters():
        torch.testing.assert_close(gradients[name], parameter.grad, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize(
    'arch, name', [('s', 'small'), ('m', 'medium'), ('b', 'base'), ('l', 'large')]
)
def test_named_archs_have_timms_parameters(arch, name):
    with torch.device('meta'):
        ours = CosubViT(arch)
        theirs = timm.create_model(f'deit3_{name}_patch16_224', num_classes=0)
    expected = {key: value.shape for key, value in theirs.state_dict().items()}
    assert {key: value.shape for key, value in to_timm(ours.state_dict()).items()} == expected


def test_stock_deit3_normalises_the_second_branch_with_the_first_norm():
    """The fault that CosubViT does without: in mmpretrain ``ln2`` has no influence."""
    ours = CosubViT(TINY, img_size=32, patch_size=16)
    stock = DeiT3(TINY, img_size=32, patch_size=16)
    randomise(ours)
    stock.double().load_state_dict(ours.state_dict())
    stock.eval()
    image = torch.randn(2, 3, 32, 32, dtype=torch.double)
    assert (ours(image)[0] - stock(image)[0]).abs().max() > 0.01

    stock(image)[0].sum().backward()
    assert stock.layers[0].ln2.weight.grad is None


def test_every_parameter_gets_a_gradient():
    """DistributedDataParallel stops at a parameter without one."""
    model = CosubViT(TINY, img_size=32, patch_size=16)
    model.init_weights()
    model(torch.randn(2, 3, 32, 32))[0].pow(2).sum().backward()
    assert all(p.grad is not None for p in model.parameters())


def test_initial_weights_are_those_of_deit3():
    model = CosubViT('ti', img_size=64)
    model.init_weights()
    for name in ('cls_token', 'pos_embed'):
        assert getattr(model, name).std().item() == pytest.approx(0.02, rel=0.15), name
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Linear):
            assert module.weight.std().item() == pytest.approx(0.02, rel=0.05), name
            assert module.bias.abs().max() == 0
    for block in model.layers:
        assert torch.all(block.attn.gamma1.weight == 1e-4)
        assert torch.all(block.ffn.gamma2.weight == 1e-4)


def test_drop_path_is_uniform_over_depth():
    model = CosubViT(TINY, img_size=32, drop_path_rate=0.3)
    rates = [
        r for b in model.layers for r in (b.attn.out_drop.drop_prob, b.ffn.dropout_layer.drop_prob)
    ]
    assert rates == [0.3] * 6


def test_position_embeddings_follow_the_image_size():
    """At run time and on load the same bicubic resize is made, and it keeps a constant."""
    small = randomise(CosubViT(TINY, img_size=32, patch_size=8))
    large = CosubViT(TINY, img_size=64, patch_size=8).double().eval()
    load_state_dict(large, small.state_dict(), strict=True)
    image = torch.randn(1, 3, 64, 64, dtype=torch.double)
    torch.testing.assert_close(small(image)[0], large(image)[0], rtol=1e-4, atol=1e-4)

    torch.nn.init.constant_(small.pos_embed, 0.5)
    load_state_dict(large, small.state_dict(), strict=True)
    torch.testing.assert_close(large.pos_embed, torch.full_like(large.pos_embed, 0.5))


def test_output_types_show_the_same_tokens():
    image = torch.randn(2, 3, 32, 48)
    outs = {}
    for out_type in ('raw', 'cls_token', 'featmap', 'avg_featmap'):
        torch.manual_seed(0)
        model = CosubViT(TINY, img_size=(32, 48), patch_size=16, out_type=out_type)
        model.init_weights()
        outs[out_type] = model.eval()(image)[0]
    tokens = outs['raw']
    assert torch.equal(outs['cls_token'], tokens[:, 0])
    torch.testing.assert_close(outs['avg_featmap'], tokens[:, 1:].mean(1))
    for row in range(2):
        for column in range(3):
            assert torch.equal(outs['featmap'][..., row, column], tokens[:, 1 + 3 * row + column])


def test_out_indices_return_the_stream_after_each_block():
    model = randomise(CosubViT(TINY, img_size=32, out_indices=(0, -1), out_type='raw'))
    streams = []
    for block in model.layers:
        block.register_forward_hook(lambda _, __, out: streams.append(out))
    first, last = model(torch.randn(1, 3, 32, 32, dtype=torch.double))
    assert torch.equal(first, streams[0])
    assert torch.equal(last, model.ln1(streams[2]))


def test_160_pixels_hold_11_patches_of_14():
    model = CosubViT(TINY, img_size=160, patch_size=14).eval()
    assert model.patch_resolution == (11, 11)
    image = torch.randn(1, 3, 160, 160)
    with torch.no_grad():
        assert torch.equal(model(image)[0], model(image[..., :154, :154])[0])


def test_layer_depth_counts_from_the_embeddings_to_the_head():
    model = CosubViT(TINY, img_size=32)
    depth = {
        name: model.get_layer_depth(f'backbone.{name}', 'backbone.')
        for name, _ in model.named_parameters()
    }
    assert depth['cls_token'] == depth['pos_embed'] == (0, 5)
    assert depth['patch_embed.projection.weight'] == (0, 5)
    assert depth['layers.1.ln1.weight'] == (2, 5)
    assert depth['layers.2.ffn.layers.1.bias'] == depth['ln1.weight'] == (3, 5)
    assert model.get_layer_depth('head.layers.head.weight', 'backbone.') == (4, 5)


@pytest.mark.parametrize(
    'kwargs, message',
    [
        (dict(arch='xl'), "arch='xl' is unknown; choose from 'b', 'g', 'h', 'l', 'm', 's', 'ti'"),
        (dict(arch=dict(embed_dims=8)), 'lacks the keys'),
        (dict(arch={**TINY, 'num_heads': 5}), 'multiple of num_heads=5'),
        (dict(out_type='token'), "choose from 'avg_featmap', 'cls_token', 'featmap', 'raw'"),
        (dict(drop_path_rate=1.0), r'must lie in \[0, 1\)'),
        (dict(out_indices=(0, 12)), 'there is no block 12'),
        (dict(img_size=8), 'smaller than one patch'),
    ],
)
def test_bad_arguments_are_named(kwargs, message):
    with pytest.raises(ValueError, match=message):
        CosubViT(**{'arch': 'ti', **kwargs})


def test_a_checkpoint_with_a_class_token_position_is_refused():
    model = CosubViT(TINY, img_size=32, patch_size=8)
    weights = model.state_dict()
    weights['pos_embed'] = torch.zeros(1, 17, 48)
    with pytest.raises(ValueError, match='17 position embeddings'):
        model.load_state_dict(weights)


def test_a_pass_reads_no_signatures():
    """As mmcv's FFN does in each of its calls, for the sake of arguments that are long renamed."""
    model = CosubViT(
        arch=dict(embed_dims=8, num_layers=2, num_heads=2, feedforward_channels=16), img_size=32
    )
    called = set()
    sys.setprofile(lambda frame, event, _: called.add(frame.f_code.co_name))
    try:
        model(torch.zeros(1, 3, 32, 32))
    finally:
        sys.setprofile(None)
    assert 'forward' in called and 'getfullargspec' not in called
    twin = pickle.loads(pickle.dumps(copy.deepcopy(model)))
    torch.testing.assert_close(twin(torch.ones(1, 3, 32, 32)), model(torch.ones(1, 3, 32, 32)))


def test_registered_in_mmpretrain():
    assert MODELS.get('CosubViT') is CosubViT
