"""How many rows are computed, and which of them the realised rate counts."""

import pytest
import timm
import torch

from cosub_mm.stochastic_depth import (
    apply_stochastic_depth,
    copy_batch_late,
    realised_drop_rate,
)


def vit(rate: float, depth: int = 1) -> torch.nn.Module:
    model = timm.create_model(
        'vit_tiny_patch16_224', depth=depth, embed_dim=12, img_size=16, num_classes=2
    )
    apply_stochastic_depth(model, rate, implementation='subset')
    return model.train()


def test_the_rows_that_are_computed_are_those_that_are_kept():
    """42.5 of 64: as many rows as are counted, none more, and their number is drawn."""
    model, rows = vit(0.3359375), []
    for part in (model.blocks[0].attn, model.blocks[0].mlp):
        part.register_forward_pre_hook(lambda _, args: rows.append(len(args[0])))
    with torch.no_grad():
        for _ in range(20):
            model(torch.zeros(64, 3, 16, 16))
            assert realised_drop_rate(model, reset=True) == 1 - sum(rows[-2:]) / 128
    assert set(rows) == {42, 43}


def test_the_trial_of_the_late_copy_is_not_counted():
    """Its four rows cannot be dropped at .3; before a step the rate is that asked for."""
    model, x = vit(0.3, depth=2), torch.randn(5, 3, 16, 16)
    with copy_batch_late(model, x, 2) as batch:
        assert batch.late
        assert realised_drop_rate(model) == pytest.approx(0.3)
        model(batch.inputs)
        # ten rows, seven of them kept by each branch
        assert realised_drop_rate(model) == pytest.approx(0.3)
