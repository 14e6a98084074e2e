# Table 10, ViT-L: 90 epochs on ImageNet-21k at 224, supervised (DeiT III).
_base_ = '../cosub/vit-l_in21k.py'
model = dict(type='SupervisedClassifier')
