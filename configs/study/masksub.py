# MaskSub: the second pass sees half of the patches.
_base_ = ['supervised.py']
model = dict(type='MaskSubClassifier', sub='mask', ratio=0.5)
