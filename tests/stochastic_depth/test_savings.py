"""What only saves changes no value, and evaluation has no hooks of ours."""

import pytest
import timm
import torch

from cosub_mm.stochastic_depth import apply, apply_stochastic_depth, remove_stochastic_depth
from tests.stochastic_depth import models


@pytest.mark.parametrize('name', ['timm-resnet26', 'timm-regnety', 'mm-resnet50', 'timm-vit'])
def test_without_savings_all_values_are_the_same(name, monkeypatch):
    model, shape = models.build(name)
    x = torch.randn(5, *shape, dtype=torch.float64)
    results = []
    for saving in (apply.SAVING, None):
        remove_stochastic_depth(model)
        monkeypatch.setattr(apply, 'SAVING', saving)
        apply_stochastic_depth(model, 0.4, implementation='subset')
        models.only_branches_train(model)
        results.append(models.forward_backward(model, x))
    for with_it, without in zip(*results, strict=True):
        assert torch.equal(with_it, without)


def hooks_of(model):
    """Number of hooks on the modules of a model, and of methods that something was put over."""
    return sum(
        len(m._forward_pre_hooks) + len(m._forward_hooks) + ('forward' in vars(m))
        for m in model.modules()
    )


@pytest.mark.parametrize('name', ['timm-vit', 'timm-resnet26', 'mm-swin-v2'])
def test_evaluation_has_no_hooks_and_training_has_them_again(name):
    model, shape = models.build(name)
    before = hooks_of(model)
    apply_stochastic_depth(model, 0.5, implementation='subset')
    x = torch.randn(6, *shape, dtype=torch.float64)
    models.only_branches_train(model)
    expected = models.forward_backward(model, x)
    assert hooks_of(model) > before
    for _ in range(2):
        model.eval()
        assert hooks_of(model) == before
        models.only_branches_train(model)
        for a, b in zip(models.forward_backward(model, x), expected, strict=True):
            assert torch.equal(a, b)


def test_after_a_failed_step_the_next_one_is_right():
    model = timm.create_model('vit_tiny_patch16_224', depth=2, embed_dim=24, img_size=32).train()
    apply_stochastic_depth(model, 0.5, implementation='subset')
    x = torch.randn(6, 3, 32, 32)
    expected = models.forward_backward(model, x)

    def fail(module, args):
        raise MemoryError('full')

    handle = model.blocks[1].mlp.fc1.register_forward_pre_hook(fail)
    with pytest.raises(MemoryError):
        model(x)
    handle.remove()
    for a, b in zip(models.forward_backward(model, x), expected, strict=True):
        assert torch.equal(a, b)
