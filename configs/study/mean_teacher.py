# Mean teacher, with Tarvainen and Valpola's momentum in the second half, .99 before (ours: the
# run has 1,000 steps).
_base_ = ['supervised.py']
model = dict(
    type='MeanTeacherClassifier',
    momentum=0.999,
    momentum_start=0.99,
    momentum_steps=500,
    lam=0.5,
)
