# Tables 1 and 6, ViT-B: 800 epochs on ImageNet-1k at 224, drop rate .2, supervised (DeiT III).
_base_ = '../cosub/vit-b_in1k.py'
model = dict(type='SupervisedClassifier')
