# vit-l_in21k-270e.py with BCE, which the public code of cosub trains with whenever cosub is on.
# The paper does not say which of the two losses it used on ImageNet-21k.
_base_ = ['./vit-l_in21k-270e.py']
# No smoothing: above the threshold of 0 it would make every class a positive.
model = dict(loss='bce', label_smoothing=0.0)
