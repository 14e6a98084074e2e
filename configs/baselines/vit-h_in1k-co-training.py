# Table 4, ViT-H: 800 epochs on ImageNet-1k at 224, drop rate .6, two models.
_base_ = '../cosub/vit-h_in1k.py'
model = dict(type='CoTrainingClassifier', lam=0.5)
train_dataloader = dict(batch_size=32)  # ours: two models in a GPU's memory
