# Table 8, ViT-L: 800 epochs on ImageNet-1k at 128, supervised (DeiT III).
_base_ = '../cosub/vit-l_in1k-128px.py'
model = dict(type='SupervisedClassifier')
