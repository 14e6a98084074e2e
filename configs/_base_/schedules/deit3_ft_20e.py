# Fine-tuning at 224 after ImageNet-1k at another size, 20 epochs (DeiT III, Table 8).
optim_wrapper = dict(
    optimizer=dict(type='AdamW', lr=1e-5, weight_decay=0.1, eps=1e-8, betas=(0.9, 0.999)),
    # No weight decay on vectors (norms, biases, LayerScale), embeddings and Swin's tables.
    paramwise_cfg=dict(
        norm_decay_mult=0.0,
        bias_decay_mult=0.0,
        flat_decay_mult=0.0,
        custom_keys={
            'cls_token': dict(decay_mult=0.0),
            'pos_embed': dict(decay_mult=0.0),
            'relative_position_bias_table': dict(decay_mult=0.0),
            # XCiT's is a convolution behind sines; its authors' optimizer decays that.
            'pos_embed.token_projection.conv.weight': dict(decay_mult=1.0),
        },
    ),
)
# DeiT III's least rate equals its peak: the rate is constant after the warm-up.
param_scheduler = dict(type='DeiTCosineLR', epochs=20, warmup_epochs=5, warmup_lr=1e-6, min_lr=1e-5)
train_cfg = dict(by_epoch=True, max_epochs=20, val_interval=5)
val_cfg = dict()
test_cfg = dict()
# Learning rates are for this many distinct images a step; --auto-scale-lr adapts them.
auto_scale_lr = dict(base_batch_size=512)
