# Co-training of two models.
_base_ = ['supervised.py']
model = dict(type='CoTrainingClassifier', lam=0.5)
