# Table 6, ViT-B: 400 epochs on ImageNet-1k at 224, supervised (DeiT III).
_base_ = '../cosub/vit-b_in1k-400e.py'
model = dict(type='SupervisedClassifier')
