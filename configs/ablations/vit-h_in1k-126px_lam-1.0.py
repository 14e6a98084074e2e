# Table 5, lambda 1.0, the supervised loss on two copies: ViT-H on ImageNet-1k at 126, 800 epochs.
_base_ = '../cosub/vit-h_in1k-126px.py'
model = dict(lam=1.0)
