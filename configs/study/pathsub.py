# PathSub: the second pass drops half of the residual branches.
_base_ = ['supervised.py']
model = dict(type='MaskSubClassifier', sub='path', ratio=0.5)
