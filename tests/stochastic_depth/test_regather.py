"""Kept rows gathered again in backward, behind a ReLU that saves the stream anyway."""

import pytest
import timm
import torch
from torch.autograd.graph import (
    disable_saved_tensors_hooks,
    save_on_cpu,
    saved_tensors_hooks,
)
from torch.utils.checkpoint import checkpoint_sequential

from cosub_mm.stochastic_depth import apply_stochastic_depth
from cosub_mm.stochastic_depth.rows.draw import draw_rows
from cosub_mm.stochastic_depth.rows.functional import take_rows
from cosub_mm.stochastic_depth.savings.regather import regather_for_backward


class Held:
    """Bytes that torch's CPU allocator has given out and not got back, within the block."""

    def __enter__(self):
        activities = [torch.profiler.ProfilerActivity.CPU]
        self.profile = torch.profiler.profile(activities=activities, profile_memory=True)
        self.profile.__enter__()
        return self

    def __exit__(self, *error):
        self.profile.__exit__(*error)
        events = self.profile.profiler.kineto_results.events()
        self.bytes = sum(event.nbytes() for event in events if event.name() == '[memory]')


def resnet(implementation, dtype=torch.float64):
    torch.manual_seed(0)
    model = timm.create_model('test_resnet', num_classes=3).to(dtype).train()
    apply_stochastic_depth(model, 0.25, implementation=implementation)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.eval()  # its statistics are those of the computed rows
    return model


def gradients(model, x, run):
    """Output and gradients of input and parameters, for the same kept rows in each call."""
    torch.manual_seed(1)
    x = x.clone().requires_grad_()
    output = run(model, x)
    output.square().sum().backward()
    return [output, x.grad, *(p.grad for p in model.parameters())]


def plain(model, x):
    return model(x)


def checkpointed(model, x):
    stem = torch.nn.Sequential(model.conv1, model.bn1, model.act1, model.maxpool)
    stages = [stem, model.layer1, model.layer2, model.layer3, model.layer4]
    return model.forward_head(checkpoint_sequential(stages, 2, x, use_reentrant=False))


def offloaded(model, x):
    with save_on_cpu():
        return model(x)


def forbidden(model, x):
    with disable_saved_tensors_hooks('not here'):
        return model(x)


@pytest.mark.parametrize('name', ['test_resnet', 'regnety_002', 'resnet14t'])
@pytest.mark.parametrize('memory_format', [torch.contiguous_format, torch.channels_last])
def test_convnets_keep_the_stream_once(name, memory_format):
    held = {}
    for implementation in ('mask', 'subset'):
        torch.manual_seed(0)
        model = timm.create_model(name, drop_path_rate=0.1).train().to(memory_format=memory_format)
        apply_stochastic_depth(model, 0.125, implementation=implementation)
        x = torch.randn(16, 3, 64, 64).to(memory_format=memory_format)
        with Held() as held[implementation]:
            loss = model(x).sum()
        loss.backward()
    assert held['subset'].bytes < held['mask'].bytes


@pytest.mark.parametrize('run', [plain, checkpointed, offloaded, forbidden])
def test_gradients_are_those_of_masking(run):
    x = torch.randn(8, 3, 32, 32, dtype=torch.float64)
    expected = gradients(resnet('mask'), x, plain)
    for mask, subset in zip(expected, gradients(resnet('subset'), x, run)):
        torch.testing.assert_close(subset, mask, rtol=1e-9, atol=1e-9)


def test_second_gradients_are_those_of_masking():
    x = torch.randn(8, 3, 32, 32, dtype=torch.float64)
    results = []
    for implementation in ('mask', 'subset'):
        model = resnet(implementation)
        torch.manual_seed(1)
        images = x.clone().requires_grad_()
        (grad,) = torch.autograd.grad(model(images).square().sum(), images, create_graph=True)
        results.append(torch.autograd.grad(grad.square().sum(), list(model.parameters())[:-1]))
    for expected, actual in zip(*results):
        torch.testing.assert_close(actual, expected, rtol=1e-8, atol=1e-8)


def start(x):
    rows = draw_rows(len(x), 0.5, 'cpu')
    taken = take_rows(x, rows)
    return taken, regather_for_backward(x, taken, rows.index)


def test_only_where_the_stream_is_saved_anyway():
    x = torch.randn(4, 3, requires_grad=True)
    assert start(x)[1] is None
    assert start(torch.nn.functional.gelu(x))[1] is None
    assert start(x.relu())[1] is not None
    with saved_tensors_hooks(lambda x: x, lambda x: x):
        assert start(x.relu())[1] is None
    with torch.no_grad():
        assert start(x.relu())[1] is None


def test_a_stream_that_is_changed_in_place_is_an_error():
    x = torch.randn(4, 3, requires_grad=True).relu()
    weight = torch.randn(3, requires_grad=True)
    taken, saving = start(x)
    with saving:
        y = (taken * weight).sum()
    x.add_(1)
    with pytest.raises(RuntimeError, match='changed in place'):
        y.backward()


def test_a_first_module_that_fails_leaves_no_hook():
    model = resnet('subset', torch.float32)

    def fail(module, args):
        raise ValueError('bad luck')

    model.layer2[0].conv1.register_forward_pre_hook(fail)
    with pytest.raises(ValueError, match='bad luck'):
        model(torch.randn(4, 3, 32, 32))
    with disable_saved_tensors_hooks('a hook was left'):  # would raise
        pass
