# Table 3, BCE-soft: ViT-H on ImageNet-1k at 126, 800 epochs.
_base_ = '../cosub/vit-h_in1k-126px.py'
model = dict(loss='bce', teacher='soft')
