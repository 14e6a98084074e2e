# Table 10, ViT-B: 90 epochs on ImageNet-21k at 224, supervised (DeiT III).
_base_ = '../cosub/vit-b_in21k.py'
model = dict(type='SupervisedClassifier')
