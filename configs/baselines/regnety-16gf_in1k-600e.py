# Table 2, RegNetY-16GF: ImageNet-1k at 224, supervised.
# The paper cites Wightman et al. without naming a procedure (ours: A1, 600 epochs).
_base_ = '../cosub/regnety-16gf_in1k-600e.py'
model = dict(type='SupervisedClassifier')
