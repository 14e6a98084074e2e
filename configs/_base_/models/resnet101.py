# ResNet-101 of Table 2.
_base_ = ['./resnet50.py']
model = dict(backbone=dict(depth=101), drop_path_rate=0.2)
