# Knowledge distillation and cosub: the last row of Table 4.
_base_ = ['kd.py']
model = dict(num_submodels=2)
