# Table 1, ViT-M: 800 epochs on ImageNet-1k at 224, drop rate .1, supervised (DeiT III).
_base_ = '../cosub/vit-m_in1k.py'
model = dict(type='SupervisedClassifier')
