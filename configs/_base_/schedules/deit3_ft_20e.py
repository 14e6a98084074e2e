# Fine-tuning at 224 after ImageNet-1k at another size, 20 epochs (DeiT III, Table 8).
_base_ = './deit3.py'
optim_wrapper = dict(
    optimizer=dict(type='AdamW', lr=1e-5, weight_decay=0.1, betas=(0.9, 0.999), fused=True)
)
# DeiT III's least rate equals its peak: the rate is constant after the warm-up.
param_scheduler = dict(epochs=20)
train_cfg = dict(by_epoch=True, max_epochs=20, val_interval=5)
val_cfg = dict()
test_cfg = dict()
auto_scale_lr = dict(base_batch_size=512)
