"""What people do around a model: each is right, or refused in one sentence."""

import copy
import warnings

import pytest
import timm
import torch
from torch import nn
from torch.func import functional_call, grad, vmap
from torchvision.models.feature_extraction import create_feature_extractor
from torchvision.models.resnet import BasicBlock, ResNet

from cosub_mm.stochastic_depth import (
    Branch,
    apply_stochastic_depth,
    register_block,
    remove_stochastic_depth,
)
from cosub_mm.stochastic_depth.step.shadow import MethodStart
from tests.stochastic_depth.models import only_branches_train
from tests.stochastic_depth.oldest import not_in_old_torch

IMAGES = torch.randn(4, 3, 32, 32)


def vit(**options):
    options = dict(depth=1, embed_dim=24, num_heads=3, img_size=32, num_classes=5) | options
    return timm.create_model('vit_tiny_patch16_224', **options)


def resnet():
    return ResNet(BasicBlock, [1, 1, 1, 1], num_classes=5)


def applied(model, implementation='subset'):
    apply_stochastic_depth(model.train(), 0.5, implementation=implementation)
    return model


@pytest.mark.parametrize(
    ('model', 'sentence'),
    [
        ('resnet50', r"is a str, no nn.Module: .*timm.create_model\('resnet50'\)"),
        ([nn.Linear(2, 2)], 'is a list, no nn.Module: call it once for each'),
        (nn.Linear(2, 2).state_dict(), 'it holds weights, no modules'),
        (nn.Linear, 'is a class, Linear, no nn.Module: give an instance'),
        (None, 'is a NoneType, no nn.Module'),
    ],
)
def test_something_else_than_a_model(model, sentence):
    with pytest.raises(TypeError, match=sentence):
        apply_stochastic_depth(model, 0.1)


@pytest.mark.parametrize('rate', ['0.2', True, [0.1, 0.2], torch.tensor(0.1)])
def test_a_rate_that_is_no_number(rate):
    with pytest.raises(TypeError, match=r'drop_rate=.* is a .*give one number in \[0, 1\)'):
        apply_stochastic_depth(vit(), rate)


def test_an_unknown_search():
    with pytest.raises(ValueError, match=r"find='some' is unknown; choose from.*'all'"):
        apply_stochastic_depth(vit(), 0.1, find='some')


@pytest.mark.parametrize('rate', [None, 0.0])
def test_a_rate_of_zero_is_warned_of(rate):
    with pytest.warns(UserWarning, match='rate of 0 in every branch: nothing will be dropped'):
        apply_stochastic_depth(vit(), rate)
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        apply_stochastic_depth(vit(), 0.1)
        apply_stochastic_depth(vit(drop_path_rate=0.1, depth=2))


def test_a_tuple_in_a_registration():
    with pytest.raises(TypeError, match=r"\('norm', 'end'\) is a tuple, no Branch; write Branch"):
        register_block(nn.Linear, ('norm', 'end'))
    with pytest.raises(TypeError, match='give the class of the block'):
        register_block(nn.Linear(2, 2), Branch('norm', 'end'))


def test_data_parallel_of_several_devices():
    model = nn.DataParallel(vit())
    apply_stochastic_depth(model, 0.1)  # of none or one it is the model itself
    model.device_ids = [0, 1]
    with pytest.raises(ValueError, match='nn.DataParallel.*DistributedDataParallel'):
        apply_stochastic_depth(model, 0.1)


def test_torch_jit():
    with pytest.raises(ValueError, match=r'was compiled by torch\.jit'):
        apply_stochastic_depth(torch.jit.script(resnet()), 0.1)
    model = applied(resnet())
    with pytest.raises(RuntimeError, match=r'torch\.jit\.script would fix the rows.*model\.eval'):
        torch.jit.script(model)
    scripted = torch.jit.script(model.eval())
    assert torch.equal(scripted(IMAGES), model(IMAGES))


def test_torch_fx():
    with pytest.raises(ValueError, match=r'was traced by torch\.fx'):
        apply_stochastic_depth(create_feature_extractor(resnet(), ['layer4']), 0.1)
    for implementation in ('subset', 'mask'):
        with pytest.raises(Exception, match=r'torch\.fx traces this model'):
            create_feature_extractor(applied(resnet(), implementation), ['layer4'])


def test_a_feature_extractor_with_blocks_as_leaves_drops():
    model = applied(resnet())
    leaves = dict(leaf_modules=[BasicBlock])
    features = create_feature_extractor(model, ['layer1'], tracer_kwargs=leaves)
    results = []
    for net in (features, lambda x: {'layer1': model.layer1(stem(model, x))}):
        torch.manual_seed(0)
        results.append(net(IMAGES)['layer1'])
    assert torch.equal(*results)
    features.eval(), model.eval()
    assert torch.equal(features(IMAGES)['layer1'], model.layer1(stem(model, IMAGES)))


def stem(model, x):
    return model.maxpool(model.relu(model.bn1(model.conv1(x))))


@pytest.mark.parametrize('make', [vit, resnet])
def test_torch_func(make):
    model = applied(make().double())
    only_branches_train(model)
    x, parameters = IMAGES.double(), dict(model.named_parameters())

    def loss(parameters, x):
        return functional_call(model, parameters, (x,)).square().sum()

    torch.manual_seed(0)
    ours = grad(loss)(parameters, x)
    torch.manual_seed(0)
    loss(parameters, x).backward()
    for name, parameter in parameters.items():
        torch.testing.assert_close(ours[name], parameter.grad, rtol=1e-9, atol=1e-12)


@not_in_old_torch('reads no numbers within vmap')
def test_gradients_by_sample_ask_for_their_randomness():
    model = applied(vit())
    parameters = dict(model.named_parameters())

    def loss(parameters, x):
        return functional_call(model, parameters, (x[None],)).sum()

    with pytest.raises(RuntimeError, match="use the 'same'"):
        vmap(grad(loss), (None, 0))(parameters, IMAGES)
    grads = vmap(grad(loss), (None, 0), randomness='same')(parameters, IMAGES)
    assert all(len(g) == 4 for g in grads.values())


def replace_last(model):
    model.layer1[0].bn2 = nn.BatchNorm2d(64)


def convert(model):
    nn.SyncBatchNorm.convert_sync_batchnorm(model)


@pytest.mark.parametrize('implementation', ['subset', 'mask'])
@pytest.mark.parametrize('change', [replace_last, convert])
def test_a_module_behind_which_a_branch_ends_is_replaced(change, implementation):
    model = applied(resnet(), implementation)
    change(model)
    with pytest.raises(
        RuntimeError, match=r"layer1.0: '(bn2|conv1)' was replaced by a .*BatchNorm"
    ):
        model(IMAGES)
    model.eval()  # evaluation has nothing of ours


def test_a_drop_path_that_is_replaced_in_a_masked_model():
    model = applied(vit(), 'mask')
    model.blocks[0].drop_path1 = nn.Identity()
    with pytest.raises(RuntimeError, match="'drop_path1' was replaced by a Identity"):
        model(IMAGES)


def doubled(module):
    """Put something over the forward pass of a module, as accelerate does, and count its calls."""
    below, calls = module.forward, []

    def forward(x):
        calls.append(len(x))
        return 2 * below(x)

    module.forward = forward
    return calls, below


def steps(model):
    """Output of a training step, of evaluation, and of the step again."""
    results = []
    for mode in (True, False, True):
        torch.manual_seed(1)
        results.append(model.train(mode)(IMAGES))
    return results


@pytest.mark.parametrize('before', [True, False])
def test_a_forward_pass_that_somebody_has_put_over_is_kept(before):
    model = vit()
    mask = copy.deepcopy(model)
    doubled(mask.blocks[0].norm1)
    expected = steps(applied(mask, 'mask'))
    if before:
        calls, _ = doubled(model.blocks[0].norm1)
        theirs = model.blocks[0].norm1.forward
        applied(model)
    else:
        applied(model)
        calls, ours = doubled(model.blocks[0].norm1)
        theirs = model.blocks[0].norm1.forward
    for a, b in zip(steps(model), expected, strict=True):
        torch.testing.assert_close(a, b)
    kept = 2 if before else 4  # theirs is called with what ours hands on, or calls it
    assert calls == [kept, 4, kept]
    apply_stochastic_depth(model, 0.5, implementation='auto')
    for a, b in zip(steps(model), expected, strict=True):
        torch.testing.assert_close(a, b)
    remove_stochastic_depth(model)
    assert model.blocks[0].norm1.forward is theirs
    torch.testing.assert_close(model.train()(IMAGES), expected[1])
    if not before:
        model.blocks[0].norm1.forward = ours  # accelerate takes its own away so
        mask.eval().blocks[0].norm1.forward = nn.LayerNorm.forward.__get__(mask.blocks[0].norm1)
        torch.testing.assert_close(model(IMAGES), mask(IMAGES))


@pytest.mark.parametrize('first', ['lower', 'upper'])
def test_what_is_put_over_one_module_twice_goes_without_a_trace(first):
    norm = nn.LayerNorm(4)
    shadows = [MethodStart(norm, 'forward', None) for _ in range(2)]
    for shadow in shadows:
        shadow.switch(True)
    assert all(shadow.bare for shadow in shadows)
    for shadow in shadows if first == 'lower' else reversed(shadows):
        shadow.switch(False)
    assert 'forward' not in vars(norm)
    torch.testing.assert_close(norm(torch.ones(2, 4)), torch.zeros(2, 4))


def test_a_forward_pass_that_is_assigned_and_does_not_call_ours():
    model = applied(vit())
    norm = model.blocks[0].norm1
    norm.forward = nn.LayerNorm.forward.__get__(norm)
    with pytest.raises(RuntimeError, match="forward of 'norm1' was assigned after"):
        model(IMAGES)
    applied(model)  # the same call
    model(IMAGES)


class Lora(nn.Module):
    def __init__(self, base):
        super().__init__()
        self.base, self.extra = base, nn.Conv2d(64, 64, 1)

    def forward(self, x):
        return self.base(x) + self.extra(x)


class HandsOn(nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        return self.inner(x)


def test_a_last_module_that_is_wrapped():
    model = applied(resnet())
    model.layer1[0].bn2 = HandsOn(model.layer1[0].bn2)
    model(IMAGES)
    model.layer1[0].bn2 = Lora(model.layer1[0].bn2.inner)
    with pytest.raises(RuntimeError, match="'bn2' was replaced by a Lora"):
        model(IMAGES[:2])  # the one row that is kept would be added to both
    assert len(apply_stochastic_depth(model, 0.4).blocks) == 4
    model(IMAGES)


@pytest.mark.parametrize('kind', ['ViT', 'SiglipVision'])
def test_peft_before_and_after(kind):
    peft, transformers = pytest.importorskip('peft'), pytest.importorskip('transformers')
    config = getattr(transformers, f'{kind}Config')(
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        image_size=32,
        patch_size=16,
    )
    last = {'ViT': 'output.dense', 'SiglipVision': 'out_proj'}[kind]
    lora = peft.LoraConfig(target_modules=[last], r=2)
    model = getattr(transformers, f'{kind}Model')(config)
    before = peft.get_peft_model(model, lora)
    report = apply_stochastic_depth(before, 0.5, implementation='subset')
    assert len(report.blocks) == 2 and before.train()(pixel_values=IMAGES)[0].requires_grad
    model = applied(getattr(transformers, f'{kind}Model')(config))
    after = peft.get_peft_model(model, lora).train()
    if kind == 'ViT':  # within the branch: its rows are the kept ones
        assert after(pixel_values=IMAGES)[0].requires_grad
    else:
        with pytest.raises(RuntimeError, match="'self_attn.out_proj' was replaced by a Linear"):
            after(pixel_values=IMAGES)
