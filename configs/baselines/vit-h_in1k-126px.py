# Table 8, ViT-H: 800 epochs on ImageNet-1k at 126, supervised (DeiT III).
_base_ = '../cosub/vit-h_in1k-126px.py'
model = dict(type='SupervisedClassifier')
