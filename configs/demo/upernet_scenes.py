# UperNet from the backbone that cosub_digits.py trained; only the start differs from scratch.
_base_ = ['upernet_scratch_scenes.py']

model = dict(
    backbone=dict(
        init_cfg=dict(
            type='Pretrained', checkpoint='work_dirs/demo/cosub/epoch_20.pth', prefix='backbone.'
        )
    )
)
