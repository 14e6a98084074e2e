# UperNet from the backbone that cosub_digits.py trained. A tenth of the head's learning rate keeps
# what it has learnt; all else is as from scratch.
_base_ = ['upernet_scratch_scenes.py']

model = dict(
    backbone=dict(
        init_cfg=dict(
            type='Pretrained', checkpoint='work_dirs/demo/cosub/epoch_20.pth', prefix='backbone.'
        )
    )
)
optim_wrapper = dict(paramwise_cfg=dict(custom_keys=dict(backbone=dict(lr_mult=0.1))))
