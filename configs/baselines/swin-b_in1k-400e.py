# Table 2, Swin-B: 400 epochs on ImageNet-1k at 224, supervised.
# The paper does not give the epochs (ours: 400, as of PiT-B in the same table).
# ours: the rate 3e-3, which DeiT III gives for its ViT-B, L and H.
_base_ = '../cosub/swin-b_in1k-400e.py'
model = dict(type='SupervisedClassifier')
