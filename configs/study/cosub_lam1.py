# Two copies of each picture and no co-training: the paper's own control (Table 5, lambda 1).
_base_ = ['supervised.py']
model = dict(type='CosubClassifier', lam=1.0)
