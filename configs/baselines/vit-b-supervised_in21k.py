# Table 10, ViT-B: 90 epochs on ImageNet-21k at 224, supervised (DeiT III).
_base_ = [
    '../_base_/models/vit_cosub.py',
    '../_base_/datasets/imagenet21k_3aug_src.py',
    '../_base_/schedules/deit3_in21k_90e.py',
    '../_base_/default_runtime.py',
]
model = dict(
    type='SupervisedClassifier',
    head=dict(num_classes=21841),
    # DeiT III's loss on 21k
    loss='ce',
    label_smoothing=0.1,
    # the rate of DeiT III's command for ViT-B
    drop_path_rate=0.1,
    train_cfg=dict(_delete_=True, augments=dict(type='CutMix', alpha=1.0)),
)
