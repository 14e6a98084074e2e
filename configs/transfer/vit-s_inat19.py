# Table 14, ViT-S on iNaturalist-2019: fine-tuned with cosub from weights trained with cosub.
_base_ = ['./vit-b_inat19.py']
model = dict(
    backbone=dict(arch='s', init_cfg=dict(checkpoint='work_dirs/vit-s_in1k/epoch_800.pth')),
    head=dict(in_channels=384),
    drop_path_rate=0.05,  # ours: the rate of pre-training
)
