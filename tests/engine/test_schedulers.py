"""The learning-rate curve against timm's scheduler and the numbers of the recipe."""

import pytest
import torch
from mmengine.optim import OptimWrapper
from mmengine.registry import PARAM_SCHEDULERS
from timm.scheduler import CosineLRScheduler

import cosub_mm  # noqa: F401
from cosub_mm.engine.schedulers import DeiTCosineLR


def curve(epochs: int, groups: list[dict], **kwargs) -> list[list[float]]:
    optimizer = torch.optim.SGD([{'params': [torch.zeros(1)], **group} for group in groups])
    scheduler = PARAM_SCHEDULERS.build(
        dict(type='DeiTCosineLR', epochs=epochs, **kwargs),
        default_args=dict(optimizer=OptimWrapper(optimizer)),
    )
    lrs = []
    for _ in range(epochs):
        lrs.append([group['lr'] for group in optimizer.param_groups])
        optimizer.step()
        scheduler.step()
    return lrs


def timm_curve(epochs: int, groups: list[dict]) -> list[list[float]]:
    """As main.py of DeiT drives timm: ``step(epoch)`` after the epoch."""
    optimizer = torch.optim.SGD([{'params': [torch.zeros(1)], **group} for group in groups])
    scheduler = CosineLRScheduler(
        optimizer, t_initial=epochs, lr_min=1e-5, warmup_t=5, warmup_lr_init=1e-6
    )
    lrs = []
    for epoch in range(epochs):
        lrs.append([group['lr'] * group.get('lr_scale', 1) for group in optimizer.param_groups])
        scheduler.step(epoch)
    return lrs


def test_equals_timms_scheduler_as_deit_drives_it():
    ours, theirs = curve(50, [dict(lr=3e-3)]), timm_curve(50, [dict(lr=3e-3)])
    torch.testing.assert_close(torch.tensor(ours), torch.tensor(theirs), rtol=1e-7, atol=0)


def test_values_of_the_recipe():
    """recipe: lr 3e-3, 800 epochs; both first epochs at 1e-6, the peak at epoch 6."""
    lrs = [lr for (lr,) in curve(800, [dict(lr=3e-3)])]
    assert lrs[0] == lrs[1] == pytest.approx(1e-6)
    assert lrs[6] == max(lrs)
    expected = {2: 6.0e-4, 6: 3.0e-3, 200: 2.57e-3, 400: 1.51e-3, 600: 4.5e-4, 799: 1.0e-5}
    for epoch, lr in expected.items():
        assert lrs[epoch] == pytest.approx(lr, rel=0.01), epoch


def test_layer_decay_scales_the_whole_curve():
    plain = [lr for (lr,) in curve(20, [dict(lr=1e-3)])]
    scaled = curve(20, [dict(lr=1e-3), dict(lr=5e-4, lr_scale=0.5)])
    for lr, (head, stem) in zip(plain, scaled):
        assert head == pytest.approx(lr)
        assert stem == pytest.approx(lr / 2)


def test_resumes_where_it_stopped():
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=1e-3)
    scheduler = DeiTCosineLR(optimizer, epochs=20)
    for _ in range(9):
        optimizer.step()
        scheduler.step()
    state, lr = scheduler.state_dict(), optimizer.param_groups[0]['lr']

    again = DeiTCosineLR(torch.optim.SGD([torch.zeros(1)], lr=1e-3), epochs=20)
    again.load_state_dict(state)
    again.optimizer.step()
    again.step()
    optimizer.step()
    scheduler.step()
    assert again.optimizer.param_groups[0]['lr'] == optimizer.param_groups[0]['lr'] != lr


@pytest.mark.parametrize(
    'kwargs, message',
    [
        (dict(epochs=5), 'warmup_epochs=5 must be at least 0 and below epochs=5'),
        (dict(epochs=9, by_epoch=False), 'once an epoch'),
    ],
)
def test_bad_arguments(kwargs, message):
    with pytest.raises(ValueError, match=message):
        DeiTCosineLR(torch.optim.SGD([torch.zeros(1)], lr=1e-3), **kwargs)
