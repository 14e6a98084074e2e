# Table 4, ViT-H: 800 epochs on ImageNet-1k at 224, drop rate .6, distillation and cosub.
_base_ = './vit-h_in1k-kd.py'
model = dict(num_submodels=2)  # the label .5, teacher and submodels .25 each (ours)
