# Table 1, ViT-S: 800 epochs on ImageNet-1k at 224, drop rate .05, supervised (DeiT III).
_base_ = '../cosub/vit-s_in1k.py'
model = dict(type='SupervisedClassifier')
