# Table 14, ViT-B on CIFAR-100: fine-tuned with cosub from weights trained with cosub.
# Give other weights by --cfg-options model.backbone.init_cfg.checkpoint=PATH
_base_ = [
    '../_base_/models/vit_cosub.py',
    '../_base_/datasets/transfer_cifar100.py',
    '../_base_/schedules/transfer_small.py',
    '../_base_/default_runtime.py',
]
model = dict(
    backbone=dict(
        init_cfg=dict(
            type='Pretrained',
            checkpoint='work_dirs/vit-b_in1k/epoch_800.pth',
            prefix='backbone.',
        )
    ),
    head=dict(num_classes=100),
    # ours: the paper does not say which loss and rate; these are DeiT's in transfer
    loss='ce',
    label_smoothing=0.1,
    drop_path_rate=0.1,
)
