# Table 14, ViT-L on iNaturalist-2018: fine-tuned with cosub from weights trained with cosub.
_base_ = ['./vit-b_inat18.py']
model = dict(
    backbone=dict(arch='l', init_cfg=dict(checkpoint='work_dirs/vit-l_in1k/epoch_800.pth')),
    head=dict(in_channels=1024),
    drop_path_rate=0.3,  # ours: below the .45 of pre-training, as in fine-tuning on ImageNet
)
