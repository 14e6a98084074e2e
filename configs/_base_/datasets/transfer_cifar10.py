# CIFAR-10, enlarged to 224. Layout: data/cifar10/cifar-10-batches-py
_base_ = './transfer.py'

data_preprocessor = dict(num_classes=10)
# The data set gives pictures, not files.
train_pipeline = _base_.train_pipeline[1:]
test_pipeline = _base_.test_pipeline[1:]
data_root = 'data/cifar10'
train_dataloader = dict(
    dataset=dict(type='CheckedCIFAR10', data_root=data_root, split='train', pipeline=train_pipeline)
)
val_dataloader = dict(
    dataset=dict(type='CheckedCIFAR10', data_root=data_root, split='test', pipeline=test_pipeline)
)
test_dataloader = val_dataloader
