# Table 8, ViT-L: 800 epochs on ImageNet-1k at 192, supervised (DeiT III).
_base_ = '../cosub/vit-l_in1k-192px.py'
model = dict(type='SupervisedClassifier')
