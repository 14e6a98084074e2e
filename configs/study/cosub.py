# Cosub: two submodels that teach each other.
_base_ = ['supervised.py']
model = dict(type='CosubClassifier', lam=0.5)
