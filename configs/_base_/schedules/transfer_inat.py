# iNaturalist: 360 epochs of AdamW at 768 images a step, as DeiT's authors state.
# DeiT III and cosub publish no values of their own.
optim_wrapper = dict(
    optimizer=dict(type='AdamW', lr=7.5e-5, weight_decay=0.05, fused=True),
    paramwise_cfg=dict(
        norm_decay_mult=0.0,
        bias_decay_mult=0.0,
        flat_decay_mult=0.0,
        custom_keys={'cls_token': dict(decay_mult=0.0), 'pos_embed': dict(decay_mult=0.0)},
    ),
)
param_scheduler = dict(
    type='DeiTCosineLR', epochs=360, warmup_epochs=5, warmup_lr=1e-6, min_lr=1e-5
)
train_cfg = dict(by_epoch=True, max_epochs=360, val_interval=20)
val_cfg = dict()
test_cfg = dict()
auto_scale_lr = dict(base_batch_size=768)
