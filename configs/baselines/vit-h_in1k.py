# Tables 1 and 6, ViT-H: 800 epochs on ImageNet-1k at 224, drop rate .6, supervised (DeiT III).
_base_ = '../cosub/vit-h_in1k.py'
model = dict(type='SupervisedClassifier')
