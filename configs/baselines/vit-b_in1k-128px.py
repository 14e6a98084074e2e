# Table 8, ViT-B: 800 epochs on ImageNet-1k at 128, supervised (DeiT III).
_base_ = '../cosub/vit-b_in1k-128px.py'
model = dict(type='SupervisedClassifier')
