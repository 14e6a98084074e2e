import pytest
import torch
import torch.nn.functional as F

from cosub_mm.losses import cosub_loss, cosub_pixel_loss

IGNORE = 255


def make(submodels=2, dtype=torch.float64, ignored=True):
    logits = 3 * torch.randn(submodels, 2, 5, 4, 3, dtype=dtype)
    target = torch.randint(5, (2, 4, 3))
    if ignored:
        target[0, 1:, :2] = IGNORE
    return logits.requires_grad_(), target


def formula(logits, target, lam):
    """Eq. 2 for two submodels, pixel by pixel, with torch's own functions."""
    first, second = (z.permute(0, 2, 3, 1)[target != IGNORE] for z in logits)
    label = target[target != IGNORE]
    ce = F.cross_entropy
    supervised = ce(first, label) + ce(second, label)
    crossed = ce(first, second.detach().softmax(1)) + ce(second, first.detach().softmax(1))
    return lam / 2 * supervised, (1 - lam) / 2 * crossed


@pytest.mark.parametrize('lam', [0, 0.3, 1])
@pytest.mark.parametrize('ignored', [True, False])
def test_equals_formula_with_gradient(lam, ignored):
    logits, target = make(ignored=ignored)
    losses = cosub_pixel_loss(logits, target, lam)
    label, cosub = formula(logits, target, lam)
    torch.testing.assert_close(losses['loss_label'], label, rtol=1e-12, atol=0)
    torch.testing.assert_close(losses['loss_cosub'], cosub, rtol=1e-12, atol=0)
    ours = torch.autograd.grad(sum(losses.values()), logits)[0]
    theirs = torch.autograd.grad(label + cosub, logits)[0]
    torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-15)


def test_equals_image_loss_on_labelled_pixels():
    """Three submodels: a pixel is to this loss what an image is to the classifier's."""
    logits, target = make(submodels=3)
    losses = cosub_pixel_loss(logits, target, 0.4)
    valid = target != IGNORE
    pixels = torch.stack([z.permute(0, 2, 3, 1)[valid] for z in logits])
    expected = cosub_loss(pixels, target[valid], 0.4, loss='ce')
    for name, value in expected.items():
        torch.testing.assert_close(losses[name], value, rtol=1e-12, atol=0)


def test_ignored_pixels_do_not_matter():
    logits, target = make()
    other = logits.detach().clone()
    ignored = (target == IGNORE)[:, None].expand_as(other[0])
    other[:, ignored] = torch.randn_like(other[:, ignored])
    before = cosub_pixel_loss(logits, target)
    after = cosub_pixel_loss(other.requires_grad_(), target)
    assert before['loss_label'] == after['loss_label']
    assert before['loss_cosub'] == after['loss_cosub']
    sum(after.values()).backward()
    assert other.grad[:, ignored].abs().max() == 0
    assert other.grad[:, ~ignored].abs().min() > 0


def test_batch_without_label_is_zero():
    logits, target = make()
    losses = cosub_pixel_loss(logits, torch.full_like(target, IGNORE))
    sum(losses.values()).backward()
    assert losses['loss_label'] == losses['loss_cosub'] == 0
    assert logits.grad.abs().max() == 0


def test_half_precision_is_computed_in_single():
    logits, target = make(dtype=torch.bfloat16)
    expected = cosub_pixel_loss(logits.detach().float(), target)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        losses = cosub_pixel_loss(logits, target)
    assert all(losses[name].dtype == torch.float32 for name in losses)
    assert all(torch.equal(losses[name], expected[name]) for name in losses)


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (dict(lam=1.2), r'lam=1.2 must lie in \[0, 1\]'),
        (dict(logits=torch.randn(1, 2, 5, 4, 3)), 'num_submodels >= 2'),
        (dict(target=torch.zeros(2, 1, 4, 3).long()), r'target must be \(2, 4, 3\)'),
        (dict(target=torch.full((2, 4, 3), 7)), 'labels from 7 to 7.*5 classes.*reduce_zero_label'),
        (dict(target=torch.full((2, 4, 3), -1)), 'labels from -1'),
    ],
)
def test_errors_name_what_is_allowed(change, message):
    logits, target = make()
    with pytest.raises(ValueError, match=message):
        cosub_pixel_loss(**{'logits': logits, 'target': target, **change})
