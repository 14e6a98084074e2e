# UperNet from the backbone that cosub_digits.py trained. What that has learnt is kept: its statistics,
# and its weights by a small learning rate. All else is as from scratch.
_base_ = ['upernet_scratch_scenes.py']

model = dict(
    backbone=dict(
        norm_eval=True,
        init_cfg=dict(
            type='Pretrained', checkpoint='work_dirs/demo/cosub/epoch_15.pth', prefix='backbone.'
        ),
    )
)
optim_wrapper = dict(paramwise_cfg=dict(custom_keys=dict(backbone=dict(lr_mult=0.03))))
