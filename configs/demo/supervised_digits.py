# The supervised baseline of cosub_digits.py: the same network, epochs, label loss and drop rate.
_base_ = ['cosub_digits.py']

model = dict(type='SupervisedClassifier')
