"""The task for timm's train.py, against the equations and timm's own losses."""

import copy

import pytest
import timm
import torch
import torch.nn.functional as F
from timm.loss import BinaryCrossEntropy, LabelSmoothingCrossEntropy, SoftTargetCrossEntropy
from timm.task import ClassificationTask
from torch import nn

from cosub_mm.stochastic_depth import apply_stochastic_depth
from cosub_mm.timm import CosubTask

CLASSES = 5


def make_model(drop_path_rate: float = 0.0) -> nn.Module:
    return timm.create_model(
        'vit_tiny_patch16_224',
        img_size=32,
        depth=3,
        embed_dim=24,
        num_heads=2,
        num_classes=CLASSES,
        drop_path_rate=drop_path_rate,
    ).double()


def batch(mixed: bool) -> tuple[torch.Tensor, torch.Tensor]:
    images = torch.randn(6, 3, 32, 32, dtype=torch.float64)
    labels = torch.arange(6) % CLASSES
    if not mixed:
        return images, labels
    one_hot = F.one_hot(labels, CLASSES).double()
    return images, 0.7 * one_hot + 0.3 * one_hot.flip(0)


CRITERIA = {
    'default': (None, False, 'bce'),
    'default, mixed': (None, True, 'bce'),
    'bce, smoothed': (BinaryCrossEntropy(0.1, target_threshold=0.2), False, 'bce'),
    'soft': (SoftTargetCrossEntropy(), True, 'ce'),
    'smoothed': (LabelSmoothingCrossEntropy(0.1), False, 'ce'),
    'torch': (nn.CrossEntropyLoss(label_smoothing=0.1), False, 'ce'),
}


@pytest.mark.parametrize('name', CRITERIA)
def test_three_steps_equal_the_equations(name):
    criterion, mixed, kind = CRITERIA[name]
    torch.manual_seed(0)
    model = make_model()
    reference = copy.deepcopy(model)
    task = CosubTask(model, criterion, drop_rate=0.4, lam=0.3, verbose=False).train()
    apply_stochastic_depth(reference.train(), 0.4)
    optimizers = [torch.optim.SGD(m.parameters(), lr=0.5) for m in (model, reference)]
    for step in range(3):
        images, target = batch(mixed)
        torch.manual_seed(step)
        result = task(images, target)
        optimizers[0].zero_grad()
        result['loss'].backward()
        optimizers[0].step()

        torch.manual_seed(step)
        first, second = reference(torch.cat([images, images])).chunk(2)
        plain = criterion or BinaryCrossEntropy(0.0, target_threshold=0.0)
        label = (plain(first, target) + plain(second, target)) / 2
        pairs = [(first, second.detach()), (second, first.detach())]
        if kind == 'bce':
            terms = [F.binary_cross_entropy_with_logits(a, b.sigmoid()) for a, b in pairs]
        else:
            terms = [-(b.softmax(1) * a.log_softmax(1)).sum(1).mean() for a, b in pairs]
        loss = 0.3 * label + 0.7 * sum(terms) / 2
        optimizers[1].zero_grad()
        loss.backward()
        optimizers[1].step()

        torch.testing.assert_close(result['loss'], loss)
        torch.testing.assert_close(result['output'], first)
        torch.testing.assert_close(result['loss_label'], 0.3 * label)
    for ours, theirs in zip(model.parameters(), reference.parameters()):
        torch.testing.assert_close(ours, theirs)


def test_checkpoints_and_evaluation_are_those_of_a_classification_task():
    model = make_model()
    plain = ClassificationTask(copy.deepcopy(model), verbose=False)
    task = CosubTask(model, drop_rate=0.4, verbose=False)
    state = plain.get_checkpoint_state()
    assert task.get_checkpoint_state()['state_dict'].keys() == state['state_dict'].keys()
    task.load_checkpoint_state(state['state_dict'])
    images, _ = batch(False)
    expected = plain.get_eval_model().eval()(images)
    torch.testing.assert_close(task.get_eval_model().eval()(images), expected, rtol=0, atol=0)


def test_ema_and_compiled_models():
    task = CosubTask(make_model(), drop_rate=0.4, verbose=False)
    task.setup_ema(decay=0.5)
    task.compile(backend='eager')
    result = task.train()(*batch(False))
    result['loss'].backward()
    assert all(p.grad is not None for p in task.get_trainable_module().parameters())
    task.update_ema()


def test_drop_path_of_the_model_is_kept():
    model = make_model(drop_path_rate=0.4)
    CosubTask(model, verbose=False)
    rates = [b.drop_path1.drop_prob for b in model.blocks]
    assert rates == pytest.approx([0.0, 0.2, 0.4])


@pytest.mark.parametrize(
    ('arguments', 'error', 'words'),
    [
        (dict(), ValueError, '--drop-path'),
        (dict(drop_rate=0.0), ValueError, 'needs stochastic depth'),
        (dict(drop_rate=0.2, lam=2), ValueError, r'lam=2 must lie in \[0, 1\]'),
        (dict(drop_rate=0.2, num_submodels=1), ValueError, 'num_submodels=1'),
        (dict(drop_rate=0.2, teacher='loud'), ValueError, "'soft' or 'hard'"),
        (dict(drop_rate=0.2, criterion=nn.MSELoss()), TypeError, 'MSELoss'),
        (dict(drop_rate=0.2, criterion=BinaryCrossEntropy(sum_classes=True)), ValueError, 'sums'),
        (
            dict(drop_rate=0.2, criterion=nn.CrossEntropyLoss(weight=torch.ones(CLASSES))),
            ValueError,
            'class weights',
        ),
    ],
)
def test_bad_input(arguments, error, words):
    with pytest.raises(error, match=words):
        CosubTask(make_model(), verbose=False, **arguments)
