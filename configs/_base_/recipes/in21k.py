# Pre-training on ImageNet-21k: DeiT III's loss and mixing there.
# The paper does not say which loss cosub used on 21k (ours: unchanged).
# A variable, since no two bases may set `model`: `model = _base_.pop('in21k')` takes it over.
in21k = dict(
    backbone=dict(),
    head=dict(num_classes=21841),
    loss='ce',
    label_smoothing=0.1,
    train_cfg=dict(_delete_=True, augments=dict(type='CutMix', alpha=1.0)),
)
