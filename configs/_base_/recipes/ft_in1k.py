# Fine-tuning on ImageNet-1k after ImageNet-21k: DeiT III's loss and mixing (with cosub ours: as in
# pre-training). Other weights: --cfg-options model.backbone.init_cfg.checkpoint=PATH
# A variable, since no two bases may set `model`: `model = _base_.pop('ft_in1k')` takes it over.
ft_in1k = dict(
    backbone=dict(init_cfg=dict(type='Pretrained', prefix='backbone.')),
    loss='ce',
    label_smoothing=0.1,
    train_cfg=dict(_delete_=True, augments=dict(type='CutMix', alpha=1.0)),
)
