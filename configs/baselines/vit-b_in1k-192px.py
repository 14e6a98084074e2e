# Table 8, ViT-B: 800 epochs on ImageNet-1k at 192, supervised (DeiT III).
_base_ = '../cosub/vit-b_in1k-192px.py'
model = dict(type='SupervisedClassifier')
