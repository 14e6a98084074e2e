"""Eq. 1 and 2 of the paper against torch's own losses, in float64, gradients included."""

import itertools

import pytest
import torch
import torch.nn.functional as F

from cosub_mm.losses import cosub_loss, multi_hot, smooth_labels

BATCH, CLASSES = 5, 7


def draw(num_submodels: int = 2, dtype=torch.double) -> tuple[torch.Tensor, torch.Tensor]:
    logits = (3 * torch.randn(num_submodels, BATCH, CLASSES, dtype=dtype)).requires_grad_()
    target = torch.rand(BATCH, CLASSES, dtype=dtype).softmax(dim=1)
    return logits, target


def one_loss(name: str, logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    if name == 'bce':
        return torch.nn.BCEWithLogitsLoss()(logits, target)
    return torch.nn.CrossEntropyLoss()(logits, target)


def prediction(loss: str, teacher: str, logits: torch.Tensor) -> torch.Tensor:
    if teacher == 'hard':
        return F.one_hot(logits.detach().argmax(1), CLASSES).to(logits)
    return logits.detach().sigmoid() if loss == 'bce' else logits.detach().softmax(1)


def reference(logits, target, lam, loss, teacher) -> torch.Tensor:
    """Eq. 2, pair by pair."""
    label = [one_loss(loss, z, target) for z in logits]
    pairs = [
        one_loss(loss, student, prediction(loss, teacher, other))
        for student, other in itertools.permutations(logits, 2)
    ]
    return lam * sum(label) / len(label) + (1 - lam) * sum(pairs) / len(pairs)


@pytest.mark.parametrize('num_submodels', [2, 3, 4])
@pytest.mark.parametrize('loss', ['bce', 'ce'])
@pytest.mark.parametrize('teacher', ['soft', 'hard'])
@pytest.mark.parametrize('lam', [0.0, 0.3, 1.0])
def test_equals_every_ordered_pair_of_eq_2(num_submodels, loss, teacher, lam):
    logits, target = draw(num_submodels)
    ours = sum(cosub_loss(logits, target, lam, loss, teacher).values())
    expected = reference(logits, target, lam, loss, teacher)
    torch.testing.assert_close(ours, expected, rtol=1e-13, atol=0)

    (gradient,) = torch.autograd.grad(ours, logits)
    (expected_gradient,) = torch.autograd.grad(expected, logits)
    torch.testing.assert_close(gradient, expected_gradient, rtol=1e-12, atol=1e-16)


def test_equals_the_four_quarter_terms_of_the_public_code():
    (z1, z2), target = (logits := draw()[0]).unbind(), draw()[1]
    bce = torch.nn.BCEWithLogitsLoss()
    expected = (
        0.25 * bce(z1, target)
        + 0.25 * bce(z2, target)
        + 0.25 * bce(z1, z2.detach().sigmoid())
        + 0.25 * bce(z2, z1.detach().sigmoid())
    )
    ours = cosub_loss(logits, target)
    torch.testing.assert_close(sum(ours.values()), expected, rtol=1e-13, atol=0)
    (gradient,) = torch.autograd.grad(sum(ours.values()), logits, retain_graph=True)
    torch.testing.assert_close(gradient, torch.autograd.grad(expected, logits)[0])


def test_the_two_parts_are_the_two_parts():
    logits, target = draw()
    parts = cosub_loss(logits, target, lam=0.7)
    label = (one_loss('bce', logits[0], target) + one_loss('bce', logits[1], target)) / 2
    torch.testing.assert_close(parts['loss_label'], 0.7 * label)


def test_the_teacher_gets_no_gradient():
    """With lam = 0 and a frozen student nothing may reach the other submodel."""
    logits, target = draw()
    student, teacher = logits[0], logits[1].detach().requires_grad_()
    loss = cosub_loss(torch.stack((student.detach(), teacher)), target, lam=0.0)['loss_cosub']
    (gradient,) = torch.autograd.grad(loss, teacher)
    # What arrives is the teacher's own term as a student, and no more.
    own = one_loss('bce', teacher, student.detach().sigmoid()) / 2
    torch.testing.assert_close(gradient, torch.autograd.grad(own, teacher)[0])


def test_class_indices_are_one_hot_targets():
    logits, _ = draw()
    labels = torch.randint(CLASSES, (BATCH,))
    for loss in ('bce', 'ce'):
        by_index = cosub_loss(logits, labels, loss=loss)
        by_score = cosub_loss(logits, F.one_hot(labels, CLASSES), loss=loss)
        assert by_index == by_score


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
@pytest.mark.parametrize('loss', ['bce', 'ce'])
def test_half_precision_logits_are_taught_in_fp32(dtype, loss):
    """Under autocast logits are half; the loss must be that of their fp32 values exactly."""
    logits, target = draw(dtype=torch.float32)
    half = logits.detach().to(dtype)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        ours = cosub_loss(half, target, loss=loss)
    expected = cosub_loss(half.float(), target, loss=loss)
    for name in expected:
        assert ours[name].dtype == torch.float32
        assert torch.equal(ours[name], expected[name])


def test_multi_hot_marks_every_mixed_class():
    mixed = torch.tensor([[0.3, 0.7, 0.0], [0.0, 1.0, 0.0]])
    assert multi_hot(mixed).tolist() == [[1, 1, 0], [0, 1, 0]]
    assert multi_hot(mixed, threshold=0.3).tolist() == [[0, 1, 0], [0, 1, 0]]


def test_multi_hot_refuses_smoothed_targets():
    smoothed = smooth_labels(torch.eye(4), 0.1)
    with pytest.raises(ValueError, match='every class of every image would be a positive'):
        multi_hot(smoothed)
    assert torch.equal(multi_hot(smoothed, threshold=0.2), torch.eye(4))


def test_smooth_labels_equals_torchs():
    logits, _ = draw()
    labels = torch.randint(CLASSES, (BATCH,))
    ours = F.cross_entropy(logits[0], smooth_labels(F.one_hot(labels, CLASSES).double(), 0.1))
    torch.testing.assert_close(ours, F.cross_entropy(logits[0], labels, label_smoothing=0.1))


@pytest.mark.parametrize(
    'kwargs, message',
    [
        (dict(loss='mse'), "loss='mse' is unknown; choose 'bce' or 'ce'"),
        (dict(teacher='ema'), "teacher='ema' is unknown; choose 'soft' or 'hard'"),
        (dict(lam=1.2), r'lam=1.2 must lie in \[0, 1\]'),
        (dict(lam=-0.1), r'lam=-0.1 must lie in \[0, 1\]'),
        (dict(target=torch.zeros(BATCH, CLASSES - 1)), r'target must be \(5,\) or \(5, 7\)'),
        (dict(logits=torch.zeros(1, BATCH, CLASSES)), 'num_submodels >= 2'),
    ],
)
def test_bad_arguments(kwargs, message):
    logits, target = draw()
    with pytest.raises(ValueError, match=message):
        cosub_loss(**{'logits': logits, 'target': target, **kwargs})
