# UperNet from the backbone that cosub_vit_digits.py trained; only the start differs from scratch.
_base_ = ['upernet_vit_scratch_scenes.py']

model = dict(
    backbone=dict(
        init_cfg=dict(
            type='Pretrained', checkpoint='work_dirs/demo/cosub/epoch_30.pth', prefix='backbone.'
        )
    )
)
