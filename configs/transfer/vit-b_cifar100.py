# Table 14, ViT-B on CIFAR-100: fine-tuned with cosub from weights trained with cosub.
_base_ = [
    '../_base_/models/vit-b.py',
    '../_base_/datasets/transfer_cifar100.py',
    '../_base_/schedules/transfer_small.py',
    '../_base_/recipes/transfer.py',
    '../_base_/default_runtime.py',
]
model = _base_.pop('transfer')
model.head.num_classes = 100
