# Procedure A1 of Wightman et al. for convnets on ImageNet-1k, 600 epochs.
optim_wrapper = dict(
    # eps: timm's LAMB, which the authors trained with; DeiT III has 1e-8
    optimizer=dict(type='CosubLamb', lr=5e-3, weight_decay=0.01, eps=1e-6),
    paramwise_cfg=dict(norm_decay_mult=0.0, bias_decay_mult=0.0),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-4, end=5, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', T_max=595, eta_min=1e-6, begin=5, end=600),
]
train_cfg = dict(by_epoch=True, max_epochs=600, val_interval=10)
val_cfg = dict()
test_cfg = dict()
# Learning rates are for this many distinct images a step; --auto-scale-lr adapts them.
auto_scale_lr = dict(base_batch_size=2048)
