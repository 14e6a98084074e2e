"""Every block of the paper's architectures: subset is mask, evaluation and rate 0 are untouched."""

import pytest
import torch
from mmpretrain.models import RevVisionTransformer, SEResNet

from cosub_mm.stochastic_depth import StochasticDepth, UnknownBlockError, apply_stochastic_depth
from cosub_mm.stochastic_depth import remove_stochastic_depth as remove
from cosub_mm.stochastic_depth.places.drop_path import is_drop_path
from tests.stochastic_depth import models


@pytest.fixture(params=models.MODELS)
def case(request):
    model, shape = models.build(request.param)
    return model, torch.randn(5, *shape, dtype=torch.float64)


def test_subset_equals_mask_and_evaluation_is_untouched(case):
    model, x = case
    model.eval()
    with torch.no_grad():
        plain = models.outputs(model, x)
    keys = list(model.state_dict())
    results = []
    for implementation in ('mask', 'subset'):
        apply_stochastic_depth(model, 0.4, implementation=implementation)
        model.eval()
        with torch.no_grad():
            assert torch.equal(models.outputs(model, x), plain)
        assert list(model.state_dict()) == keys
        models.only_branches_train(model)
        results.append(models.forward_backward(model, x))
    scale = max(float(r.abs().max()) for r in results[0][1:])
    for mask, subset in zip(*results):
        tolerance = 1e-11 * max(scale, float(mask.abs().max()))
        torch.testing.assert_close(subset, mask, rtol=1e-9, atol=tolerance)
    assert (results[0][0] - plain).abs().max() > 1e-6 * plain.abs().max()


def all_hooks(model):
    return [
        (*module._forward_pre_hooks.values(), *module._forward_hooks.values(), *vars(module))
        for module in model.modules()
    ]


def test_rate_zero_in_training_and_removal_are_bit_identical(case):
    model, x = case
    names = [name for name, _ in model.named_modules()]
    hooks = all_hooks(model)
    classes = [type(module) for module in model.modules()]
    model.train()
    for module in model.modules():
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            module.momentum = 0.0
    plain = models.forward_backward(model, x)
    report = apply_stochastic_depth(model, 0.0, implementation='subset')
    assert report.blocks
    model.train()
    assert all(map(torch.equal, models.forward_backward(model, x), plain))
    remove(model)
    assert [name for name, _ in model.named_modules()] == names
    assert [type(module) for module in model.modules()] == classes
    assert not any(isinstance(module, StochasticDepth) for module in model.modules())
    assert all_hooks(model) == hooks
    assert all(map(torch.equal, models.forward_backward(model, x), plain))


def test_every_place_of_drop_path_gets_the_rate():
    expected = {
        'timm-vit': (4, 0),
        'timm-cait': (4, 4),  # class attention is not dropped
        'timm-xcit': (6, 4),
        'timm-swin': (10, 0),
        'mm-xcit': (6, 4),
        'mmseg-vit': (4, 0),
    }
    for name, (dropped, undropped) in expected.items():
        report = apply_stochastic_depth(models.build(name)[0], 0.3)
        assert [b.rate for b in report.blocks] == [0.3] * dropped + [0] * undropped
        assert not report.skipped


def test_a_branch_with_several_drop_paths_is_dropped_once():
    model = models.build('mm-twins')[0].train()
    report = apply_stochastic_depth(model, 0.5, implementation='subset')
    assert [(b.start, b.end) for b in report.blocks] == [
        ('norm1', 'drop_path'),
        ('norm2', 'drop_path'),
    ] * 2
    inner = model.blocks[0].ffn.dropout_layer
    assert isinstance(inner, StochasticDepth) and inner.drop_prob == 0
    remove(model)
    assert not isinstance(model.blocks[0].ffn.dropout_layer, StochasticDepth)


def test_swin_v2_drops_behind_the_norm():
    """mmpretrain drops in front of it: a dropped row would still get the bias of the norm."""
    model = models.build('mm-swin-v2')[0]
    block = model.stages[0].blocks[0]
    block.train()
    x = torch.randn(6, 256, 24, dtype=torch.float64)
    for own in (block.attn.drop, block.ffn.dropout_layer):
        own.drop_prob = 1 - 1e-12
    assert torch.equal(block(x, (16, 16)) != x, torch.ones(x.shape, dtype=torch.bool))
    apply_stochastic_depth(block, 1 - 1e-12, implementation='subset')
    assert torch.equal(block(x, (16, 16)), x)


def test_mmseg_vit_drops_its_attention_too():
    """mmseg itself gives the rate to the MLP alone."""
    model = models.MMSegViT(64, embed_dims=32, num_layers=2, num_heads=2, drop_path_rate=0.3)
    own = {name for name, module in model.named_modules() if is_drop_path(module)}
    assert own == {'layers.1.ffn.dropout_layer'}
    report = apply_stochastic_depth(model)
    assert [b.rate for b in report.blocks] == pytest.approx([0, 0, 0, 0.3])
    report = apply_stochastic_depth(model, 0.2)
    assert [(b.end, b.rate) for b in report.blocks[2:]] == [
        ('attn.dropout_layer', 0.2),
        ('ffn.dropout_layer', 0.2),
    ]


def test_refused_blocks_say_why():
    model = RevVisionTransformer(models.VIT, img_size=64)
    with pytest.raises(UnknownBlockError, match=r'layers.0 .*RevTransformerEncoderLayer.*anew'):
        apply_stochastic_depth(model, 0.1)
    sparse = type('SparseResNet', (torch.nn.Module,), {})
    sparse.__module__ = 'mmpretrain.models.backbones.sparse_resnet'
    with pytest.raises(UnknownBlockError, match='map of all rows'):
        apply_stochastic_depth(sparse(), 0.1)


def test_rates_of_branches_that_end_behind_a_module():
    """Their DropPath stands elsewhere, and its rate is kept."""
    model = SEResNet(50, base_channels=8, stem_channels=8, drop_path_rate=0.3)
    rates = [branch.rate for branch in apply_stochastic_depth(model).blocks]
    assert rates[0] == 0 and rates[-1] == pytest.approx(0.3) and rates == sorted(rates)
    apply_stochastic_depth(model, 0.2)
    assert {b.rate for b in apply_stochastic_depth(model).blocks} == {0.2}


class Recurrent(torch.nn.Module):
    """Calls one block twice."""

    def __init__(self):
        super().__init__()
        self.vit = models.build('timm-vit')[0]

    def forward(self, x):
        x = self.vit.patch_embed(x)
        return self.vit.blocks[0](self.vit.blocks[0](x))


def test_a_block_that_is_called_twice_draws_twice():
    model, x = Recurrent(), torch.randn(5, 3, 64, 64, dtype=torch.float64)
    results = []
    for implementation in ('mask', 'subset'):
        apply_stochastic_depth(model, 0.4, implementation=implementation)
        results.append(models.forward_backward(model.train(), x))
    for mask, subset in zip(*results, strict=True):
        torch.testing.assert_close(subset, mask, rtol=1e-9, atol=1e-9 * float(mask.abs().max()))
