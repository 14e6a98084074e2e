# CIFAR-100, enlarged to 224. Layout: data/cifar100/cifar-100-python
_base_ = './transfer.py'

data_preprocessor = dict(num_classes=100)
# The data set gives pictures, not files.
train_pipeline = _base_.train_pipeline[1:]
test_pipeline = _base_.test_pipeline[1:]
data_root = 'data/cifar100'
train_dataloader = dict(
    dataset=dict(
        type='CheckedCIFAR100', data_root=data_root, split='train', pipeline=train_pipeline
    )
)
val_dataloader = dict(
    dataset=dict(type='CheckedCIFAR100', data_root=data_root, split='test', pipeline=test_pipeline)
)
test_dataloader = val_dataloader
