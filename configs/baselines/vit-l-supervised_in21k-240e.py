# Table 12, ViT-L: 240 epochs on ImageNet-21k at 224, supervised (DeiT III).
_base_ = [
    '../_base_/models/vit-l_cosub.py',
    '../_base_/datasets/imagenet21k_3aug_src.py',
    '../_base_/schedules/deit3_in21k_240e.py',
    '../_base_/default_runtime.py',
]
model = dict(
    type='SupervisedClassifier',
    head=dict(num_classes=21841),
    # DeiT III's loss on 21k
    loss='ce',
    label_smoothing=0.1,
    # the rate of DeiT III's command for ViT-L
    drop_path_rate=0.3,
    train_cfg=dict(_delete_=True, augments=dict(type='CutMix', alpha=1.0)),
)
train_dataloader = dict(batch_size=64)  # Table 7's memory
