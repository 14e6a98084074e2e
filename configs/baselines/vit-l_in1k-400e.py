# Table 1 at half length, ViT-L: 400 epochs on ImageNet-1k at 224, supervised (DeiT III).
_base_ = '../cosub/vit-l_in1k-400e.py'
model = dict(type='SupervisedClassifier')
