# Table 13's ViT-B with layer decay, which the paper uses in fine-tuning on ImageNet (Table 10).
_base_ = ['./upernet_vit-b_512.py']
optim_wrapper = dict(
    constructor='mmpretrain.CosubLayerDecay',
    # ours: MAE's rates for ViT-B; the paper gives none for segmentation
    optimizer=dict(lr=1e-4, weight_decay=0.05),
    # No weight decay on vectors (norms, biases, LayerScale), as BEiT's and MAE's code has it.
    paramwise_cfg=dict(
        layer_decay_rate=0.65, norm_decay_mult=0.0, bias_decay_mult=0.0, flat_decay_mult=0.0
    ),
)
