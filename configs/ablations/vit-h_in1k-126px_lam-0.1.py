# Table 5, lambda 0.1: ViT-H on ImageNet-1k at 126, 800 epochs.
_base_ = '../cosub/vit-h_in1k-126px.py'
model = dict(lam=0.1)
