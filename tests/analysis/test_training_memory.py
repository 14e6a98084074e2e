"""The estimate of a training's memory, against what can be counted."""

import pytest
from mmengine.config import Config

from cosub_mm.analysis.training_memory import TrainingMemory, estimate_memory

# Bytes: two norms, the products of attention and of the network behind it, each with its bias.
BLOCK = 4 * (2 * 2 * 32 + 32 * 96 + 96 + 32 * 32 + 32 + 2 * 32 * 64 + 64 + 32)
ARCH = dict(embed_dims=32, num_layers=2, num_heads=2, feedforward_channels=64)


def config(**changes) -> Config:
    backbone = dict(type='CosubViT', img_size=32, patch_size=8, arch=ARCH, drop_path_rate=0.05)
    head = dict(type='LinearClsHead', num_classes=3, in_channels=32)
    loss = dict(type='CrossEntropyLoss')
    model = dict(type='CosubClassifier', backbone=backbone, head=dict(head, loss=loss))
    cfg = dict(
        default_scope='mmpretrain',
        model=model,
        data_preprocessor=dict(num_classes=3, mean=[0] * 3, std=[1] * 3, to_onehot=True),
        optim_wrapper=dict(optimizer=dict(type='AdamW')),
        train_dataloader=dict(dataset=dict(pipeline=[dict(type='RandomCrop', crop_size=32)])),
    )
    return Config({**cfg, **changes})


def test_weights_gradients_moments_and_average():
    """Of each trained value: itself, its gradient and two moments; the average is one more."""
    plain = estimate_memory(config()).fixed
    average = estimate_memory(config(custom_hooks=[dict(type='EMAHook')])).fixed
    sgd = estimate_memory(config(optim_wrapper=dict(optimizer=dict(type='SGD')))).fixed
    weights = average - plain
    assert 60_000 < weights < 120_000  # 4 bytes of 20 thousand values
    assert plain == pytest.approx(4 * weights, rel=0.01)
    assert sgd == pytest.approx(3 * weights, rel=0.01)


def test_what_is_spread_is_divided():
    """ZeRO-1 the two moments, FSDP2 all but the parts that are whole: here two equal blocks."""
    fsdp2 = dict(type='mmengine.CosubFSDP2', modules=['backbone.layers'])
    alone = estimate_memory(config(), gpus=8).fixed
    zero = estimate_memory(config(shard_optimizer=True), gpus=8).fixed
    parts = estimate_memory(config(model_wrapper_cfg=fsdp2), gpus=8).fixed
    kept = estimate_memory(
        config(model_wrapper_cfg=dict(fsdp2, reshard_after_forward=False)), gpus=8
    ).fixed
    weights = alone / 4
    assert zero == pytest.approx((2 + 2 / 8) * weights, rel=0.01)
    rest = weights - 2 * BLOCK
    assert parts == pytest.approx(4 * weights / 8 + rest + 3 * BLOCK, rel=0.01)
    assert kept == pytest.approx(4 * weights / 8 + weights + BLOCK, rel=0.01)


def test_activations_grow_by_image_and_shrink_by_checkpointing():
    plain = estimate_memory(config()).per_image
    saved = estimate_memory(config(activation_checkpointing=['backbone.layers'])).per_image
    # Two submodels x 2 blocks x 17 tokens, each kept at least 8 times at 32 wide.
    assert plain > 2 * 2 * 17 * 32 * 4 * 8
    assert saved < 0.5 * plain


def test_what_fits():
    assert TrainingMemory(fixed=100, per_image=10).largest_batch(1000) == 70
    assert TrainingMemory(fixed=900, per_image=10).largest_batch(1000) == 0


def test_what_is_not_known_is_refused():
    with pytest.raises(ValueError, match='classifiers only'):
        estimate_memory(config(default_scope='mmseg'))
    with pytest.raises(ValueError, match='Adagrad are unknown'):
        estimate_memory(config(optim_wrapper=dict(optimizer=dict(type='Adagrad'))))
