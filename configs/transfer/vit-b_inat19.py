# Table 14, ViT-B on iNaturalist-2019: fine-tuned with cosub from weights trained with cosub.
_base_ = [
    '../_base_/models/vit-b.py',
    '../_base_/datasets/transfer_inat19.py',
    '../_base_/schedules/transfer_inat.py',
    '../_base_/recipes/transfer.py',
    '../_base_/default_runtime.py',
]
model = _base_.pop('transfer')
model.head.num_classes = 1010
