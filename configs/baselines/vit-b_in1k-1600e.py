# Table 6, ViT-B: 1600 epochs on ImageNet-1k at 224, supervised (DeiT III).
_base_ = '../cosub/vit-b_in1k.py'
model = dict(type='SupervisedClassifier')
param_scheduler = dict(epochs=1600)
train_cfg = dict(max_epochs=1600)
