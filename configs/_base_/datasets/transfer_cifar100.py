# CIFAR-100, enlarged to 224. Layout: data/cifar100/cifar-100-python
_base_ = ['./transfer_cifar10.py']
data_root = 'data/cifar100'
data_preprocessor = dict(num_classes=100)
train_dataloader = dict(dataset=dict(type='CheckedCIFAR100', data_root=data_root))
val_dataloader = dict(dataset=dict(type='CheckedCIFAR100', data_root=data_root))
test_dataloader = val_dataloader
