# What the runs of DeiT III share: LAMB, 5 epochs of warm-up, then a cosine.
optim_wrapper = dict(
    # The BCE mean over 1000 classes makes small gradients: eps 1e-8 as in DeiT, not LAMB's 1e-6.
    optimizer=dict(type='CosubLamb', eps=1e-8),
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
param_scheduler = dict(type='DeiTCosineLR', warmup_epochs=5, warmup_lr=1e-6, min_lr=1e-5)
# Learning rates are for this many distinct images a step; --auto-scale-lr adapts them.
auto_scale_lr = dict(base_batch_size=2048)
