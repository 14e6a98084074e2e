"""A recipe's global batch, shared out among processes, and said in one line."""

import pytest
from mmengine.config import Config

from cosub_mm.engine.batch_size import describe_batch, share_batch


@pytest.mark.parametrize(
    ('batch', 'processes', 'largest', 'shared'),
    [
        (2048, 8, 256, (256, 1)),
        (2048, 8, 255, (128, 2)),
        (2048, 1, 100, (64, 32)),
        (1200, 8, 70, (50, 3)),  # 150 a process: 75 are too many
        (14, 2, 5, (1, 7)),
    ],
)
def test_shares_make_up_the_batch(batch, processes, largest, shared):
    assert share_batch(batch, processes, largest) == shared
    assert shared[0] * shared[1] * processes == batch


@pytest.mark.parametrize(
    ('batch', 'processes', 'largest', 'said'),
    [
        (2048, 6, 64, 'nearest that do are 2046 and 2052'),
        (4, 6, 64, 'nearest that do are 6 '),
        (8, 2, 0, 'not one image fits'),
    ],
)
def test_what_cannot_be_kept_is_said(batch, processes, largest, said):
    with pytest.raises(ValueError, match=said):
        share_batch(batch, processes, largest)


def test_the_batch_in_one_line():
    cfg = Config(
        dict(
            train_dataloader=dict(batch_size=64, num_workers=5),
            optim_wrapper=dict(accumulative_counts=4),
            auto_scale_lr=dict(base_batch_size=2048),
        )
    )
    assert describe_batch(cfg, 8) == (
        'global batch 2048 = 64 a process x 8 process(es) x 4 accumulated, 5 worker(s) a process; '
        'the recipe is for 2048'
    )
