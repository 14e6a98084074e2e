# Tables 1 and 2, ViT-L: 800 epochs on ImageNet-1k at 224, drop rate .45, supervised (DeiT III).
_base_ = '../cosub/vit-l_in1k.py'
model = dict(type='SupervisedClassifier')
