# The supervised baseline of cosub_vit_digits.py: the same network, epochs and label loss.
_base_ = ['cosub_vit_digits.py']

model = dict(
    type='ImageClassifier',
    # The mean over batch and classes, as in cosub: mmpretrain's sum over 10 classes times .1.
    head=dict(loss=dict(type='CrossEntropyLoss', use_sigmoid=True, loss_weight=0.1)),
)
