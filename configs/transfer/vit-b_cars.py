# Table 14, ViT-B on Stanford Cars: fine-tuned with cosub from weights trained with cosub.
_base_ = [
    '../_base_/models/vit-b.py',
    '../_base_/datasets/transfer_cars.py',
    '../_base_/schedules/transfer_small.py',
    '../_base_/recipes/transfer.py',
    '../_base_/default_runtime.py',
]
model = _base_.pop('transfer')
model.head.num_classes = 196
