# Table 6, CaiT-M12: 800 epochs on ImageNet-1k at 224, supervised.
# ours: the rate 3e-3, which DeiT III gives for its ViT-B, L and H.
_base_ = '../cosub/cait-m12_in1k.py'
model = dict(type='SupervisedClassifier')
