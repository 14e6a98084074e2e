# Beyond the paper: UperNet is co-trained too, from the backbone of upernet_vit_scenes.py.
_base_ = ['upernet_vit_scratch_scenes.py']

model = dict(
    type='CosubSegmentor',
    lam=0.5,
    backbone=dict(
        init_cfg=dict(
            type='Pretrained', checkpoint='work_dirs/demo/cosub/epoch_30.pth', prefix='backbone.'
        )
    ),
)
