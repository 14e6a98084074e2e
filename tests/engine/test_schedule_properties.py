"""DeiT's learning-rate curve for any length, warm-up and rates, and wherever it is resumed."""

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from mmengine.config import Config
from timm.scheduler import CosineLRScheduler

from cosub_mm.checks.run_length import follow_run_length
from cosub_mm.engine.schedulers import DeiTCosineLR, deit_lr

RATES = st.floats(1e-6, 10)


@st.composite
def curves(draw):
    """Arguments of the scheduler."""
    epochs = draw(st.integers(1, 40))
    return dict(
        epochs=epochs,
        warmup_epochs=draw(st.integers(0, epochs - 1)),
        warmup_lr=draw(RATES),
        min_lr=draw(RATES),
    )


def optimizer(lr: float, scales: list[float]) -> torch.optim.Optimizer:
    groups = [dict(params=[torch.zeros(1)], lr=lr * scale, lr_scale=scale) for scale in scales]
    return torch.optim.SGD(groups, lr=lr)


def go_on(optimizer, scheduler, epochs: int) -> list[list[float]]:
    rates = []
    for _ in range(epochs):
        rates.append([group['lr'] for group in optimizer.param_groups])
        optimizer.step()
        scheduler.step()
    return rates


@given(curves(), RATES)
def test_the_curve_is_timms(curve, lr):
    names = dict(
        epochs='t_initial', warmup_epochs='warmup_t', warmup_lr='warmup_lr_init', min_lr='lr_min'
    )
    timm = CosineLRScheduler(optimizer(lr, [1]), **{names[k]: v for k, v in curve.items()})
    expected = []
    for t in range(curve['epochs']):
        timm.step(t)
        expected.append(timm.optimizer.param_groups[0]['lr'])
    assert [deit_lr(t, lr, **curve) for t in range(curve['epochs'])] == pytest.approx(expected)


@given(curves(), RATES, st.lists(st.floats(0.01, 1), min_size=1, max_size=3), st.data())
def test_resumed_anywhere_it_is_the_same_and_each_layer_has_its_share(curve, lr, scales, data):
    stopped = data.draw(st.integers(0, curve['epochs'] - 1))
    first = optimizer(lr, scales)
    scheduler = DeiTCosineLR(first, **curve)
    rates = go_on(first, scheduler, stopped)
    again = optimizer(lr, scales)
    resumed = DeiTCosineLR(again, **curve)
    again.load_state_dict(first.state_dict())
    resumed.load_state_dict(scheduler.state_dict())
    rates += go_on(again, resumed, curve['epochs'] - stopped)
    expected = [
        [scale * deit_lr(max(epoch - 1, 0), lr, **curve) for scale in scales]
        for epoch in range(curve['epochs'])
    ]
    for epoch, row in enumerate(rates):
        assert row == pytest.approx(expected[epoch]), epoch


@given(st.integers(1, 50), st.integers(1, 50), st.integers(0, 10), st.booleans())
def test_a_run_of_any_length_ends_with_its_schedule(own, length, warmup, iterations):
    assume(warmup < min(own, length))
    unit = dict(by_epoch=not iterations)
    cfg = Config(
        dict(
            train_cfg={'max_iters' if iterations else 'max_epochs': length},
            param_scheduler=[
                dict(type='LinearLR', start_factor=0.1, end=warmup, **unit),
                dict(type='CosineAnnealingLR', T_max=own - warmup, begin=warmup, end=own, **unit),
            ],
        )
    )
    said = follow_run_length(cfg)
    warm, cosine = cfg.param_scheduler
    assert warm.end == warmup
    assert (cosine.begin, cosine.end, cosine.T_max) == (warmup, length, length - warmup)
    assert len(said) == (own != length)
    assert follow_run_length(cfg) == []
