# Table 12, ViT-L: 240 epochs on ImageNet-21k at 224, supervised (DeiT III).
_base_ = '../cosub/vit-l_in21k.py'
model = dict(type='SupervisedClassifier')
param_scheduler = dict(epochs=240)
train_cfg = dict(max_epochs=240)
