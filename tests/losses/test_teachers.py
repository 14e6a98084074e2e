"""Losses with a teacher against torch's own, in float64."""

import pytest
import torch
import torch.nn.functional as F
from torch.distributions import Bernoulli, Categorical, kl_divergence

from cosub_mm.losses import distillation_loss, label_loss, symmetric_kl, teacher_loss

torch.manual_seed(0)
Z = 3 * torch.randn(3, 4, 5, dtype=torch.double)
T = 3 * torch.randn(4, 5, dtype=torch.double)
Y = torch.tensor([0, 3, 4, 1])
PLAIN = {'bce': F.binary_cross_entropy_with_logits, 'ce': F.cross_entropy}
SOFT = {'bce': torch.sigmoid, 'ce': lambda z: z.softmax(-1)}


def target_of(z, loss, teacher):
    return F.one_hot(z.argmax(-1), 5).double() if teacher == 'hard' else SOFT[loss](z)


@pytest.mark.parametrize('loss', ['bce', 'ce'])
@pytest.mark.parametrize('teacher', ['soft', 'hard'])
def test_distillation_is_eq_1_with_another_teacher(loss, teacher):
    z, t = Z[0].clone().requires_grad_(), T.clone().requires_grad_()
    losses = distillation_loss(z, Y, t, 0.3, loss, teacher)
    y = F.one_hot(Y, 5).double()
    expected = dict(
        loss_label=0.3 * PLAIN[loss](z, y),
        loss_teacher=0.7 * PLAIN[loss](z, target_of(T, loss, teacher)),
    )
    torch.testing.assert_close(losses, expected, rtol=1e-12, atol=0)
    total, reference = sum(losses.values()), sum(expected.values())
    ours, theirs = torch.autograd.grad(total, z)[0], torch.autograd.grad(reference, z)[0]
    torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-15)
    assert not losses['loss_teacher'].requires_grad or t.grad is None
    with pytest.raises(RuntimeError, match='not have been used in the graph'):
        torch.autograd.grad(sum(distillation_loss(z, Y, t, 0.3, loss, teacher).values()), t)


def test_the_teacher_and_the_other_submodels_share_what_the_label_leaves():
    losses = distillation_loss(Z, Y, T, 0.5, 'bce')
    others = [
        F.binary_cross_entropy_with_logits(a, b.sigmoid()) for a in Z for b in Z if a is not b
    ]
    assert losses['loss_label'].item() == pytest.approx(0.5 * label_loss(Z, Y).item(), rel=1e-12)
    by_teacher = sum(F.binary_cross_entropy_with_logits(z, T.sigmoid()) for z in Z) / 3
    assert losses['loss_teacher'].item() == pytest.approx(0.25 * by_teacher.item(), rel=1e-12)
    pairs = [
        F.binary_cross_entropy_with_logits(Z[i], Z[j].sigmoid())
        for i in range(3)
        for j in range(3)
        if i != j
    ]
    assert len(others) >= 6
    assert losses['loss_cosub'].item() == pytest.approx(0.25 * sum(pairs).item() / 6, rel=1e-12)


@pytest.mark.parametrize('loss', ['bce', 'ce'])
def test_symmetric_kl_is_that_of_torchs_distributions(loss):
    make = {'bce': lambda z: Bernoulli(logits=z), 'ce': lambda z: Categorical(logits=z)}[loss]
    divergences = [
        kl_divergence(make(Z[i]), make(Z[j])).mean() for i in range(3) for j in range(3) if i != j
    ]
    expected = sum(divergences) / 6
    torch.testing.assert_close(symmetric_kl(Z, loss), expected, rtol=1e-10, atol=0)
    assert symmetric_kl(Z[:1].expand(2, -1, -1), loss) == 0


def test_half_precision_is_computed_in_fp32():
    """The sigmoid of fp16 scores saturates; a target of exactly 1 teaches nothing more."""
    z = torch.full((1, 2), 12.0, dtype=torch.float16)
    assert teacher_loss(z, z, 'bce').dtype == torch.float32
    assert teacher_loss(z, z, 'bce') > 0


def test_scores_of_other_classes_are_refused():
    with pytest.raises(ValueError, match=r'scores \(4, 4\) and the student \(3, 4, 5\)'):
        teacher_loss(Z, T[:, :4])
    with pytest.raises(ValueError, match=r'target must be \(4,\) or \(4, 5\)'):
        label_loss(Z, Y[:3])
    with pytest.raises(ValueError, match=r'lam=2 must lie in \[0, 1\]'):
        distillation_loss(Z[0], Y, T, 2)
