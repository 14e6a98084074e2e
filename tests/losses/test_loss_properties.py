"""What eq. 1 and 2 of the paper imply for any scores, labels and weight of the labels."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cosub_mm.losses import agreement, cosub_loss, cosub_pixel_loss, pixel_agreement

KINDS = st.tuples(st.sampled_from(['bce', 'ce']), st.sampled_from(['soft', 'hard']))
LAMS = st.floats(0, 1)


@st.composite
def scores(draw, largest=20.0):
    """Logits (S, B, C) and labels (B,), of any size up to 4 x 5 x 6."""
    torch.manual_seed(draw(st.integers(0, 2**32)))
    size = [draw(st.integers(low, high)) for low, high in ((2, 4), (1, 5), (2, 6))]
    scale = draw(st.floats(0, largest))
    return scale * torch.randn(size, dtype=torch.float64), torch.randint(size[2], size[1:2])


def total(*args, **kwargs):
    return sum(cosub_loss(*args, **kwargs).values())


@given(scores(), KINDS, LAMS)
def test_no_submodel_image_or_class_is_preferred(case, kind, lam):
    logits, target = case
    submodels, images, classes = (torch.randperm(n) for n in logits.shape)
    moved = logits[submodels][:, images][:, :, classes]
    target_moved = classes.argsort()[target[images]]
    expected = cosub_loss(logits, target, lam, *kind)
    for name, value in cosub_loss(moved, target_moved, lam, *kind).items():
        torch.testing.assert_close(value, expected[name], rtol=1e-10, atol=1e-12)


@given(scores(), KINDS, LAMS)
def test_lam_weighs_the_two_terms(case, kind, lam):
    logits, target = case
    label, cosub = total(logits, target, 1.0, *kind), total(logits, target, 0.0, *kind)
    expected = lam * label + (1 - lam) * cosub
    torch.testing.assert_close(total(logits, target, lam, *kind), expected, rtol=1e-10, atol=1e-12)


@given(scores(), KINDS)
def test_the_mean_over_images_is_the_mean_of_the_images(case, kind):
    logits, target = case
    single = [
        total(logits[:, i : i + 1], target[i : i + 1], 0.5, *kind) for i in range(len(target))
    ]
    expected = torch.stack(single).mean()
    torch.testing.assert_close(total(logits, target, 0.5, *kind), expected, rtol=1e-10, atol=1e-12)


@given(scores(largest=1e6), KINDS, st.sampled_from([torch.float16, torch.float32]))
def test_finite_with_a_finite_gradient_however_sure_the_scores(case, kind, dtype):
    logits, target = case
    logits = logits.clamp(-6e4, 6e4).to(dtype).requires_grad_()
    loss = total(logits, target, 0.5, *kind)
    (gradient,) = torch.autograd.grad(loss, logits)
    assert loss.isfinite() and loss >= 0 and gradient.isfinite().all()


@given(scores(), st.sampled_from(['soft', 'hard']))
def test_softmax_sees_differences_of_scores_only(case, teacher):
    logits, target = case
    shifted = logits + 100 * torch.randn(*logits.shape[:2], 1, dtype=logits.dtype)
    expected = total(logits, target, 0.3, 'ce', teacher)
    torch.testing.assert_close(
        total(shifted, target, 0.3, 'ce', teacher), expected, rtol=1e-9, atol=1e-9
    )


@given(scores(), LAMS, st.booleans())
def test_a_labelled_pixel_is_an_image(case, lam, ignore):
    logits, target = case
    submodels, batch, classes = logits.shape
    labels = target.clone()
    if ignore:
        labels[torch.rand(batch) < 0.5] = 255
    valid = labels != 255
    pixels = cosub_pixel_loss(
        logits.transpose(1, 2).reshape(submodels, 1, classes, batch, 1),
        labels.reshape(1, batch, 1),
        lam,
    )
    if not valid.any():
        assert sum(pixels.values()) == 0
        return
    expected = cosub_loss(logits[:, valid], target[valid], lam, 'ce')
    for name, value in pixels.items():
        torch.testing.assert_close(value, expected[name], rtol=1e-10, atol=1e-12)
    share = pixel_agreement(
        logits.transpose(1, 2).reshape(submodels, 1, classes, batch, 1), valid.reshape(1, batch, 1)
    )
    assert float(share) == pytest.approx(float(agreement(logits[:, valid])))


@given(scores())
def test_agreement_is_a_share_and_whole_for_equal_submodels(case):
    logits, _ = case
    assert -1e-6 <= float(agreement(logits)) <= 1 + 1e-6
    assert float(agreement(logits[:1].expand_as(logits))) == pytest.approx(1)
