# Table 6, PiT-B: 800 epochs on ImageNet-1k at 224, supervised.
# ours: the rate 3e-3, which DeiT III gives for its ViT-B, L and H.
_base_ = '../cosub/pit-b_in1k.py'
model = dict(type='SupervisedClassifier')
