# Mean teacher, with Tarvainen and Valpola's momentum behind a start at .99.
_base_ = ['supervised.py']
model = dict(
    type='MeanTeacherClassifier',
    momentum=0.999,
    momentum_start=0.99,
    momentum_steps=1000,
    lam=0.5,
)
