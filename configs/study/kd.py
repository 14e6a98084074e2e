# Knowledge distillation; tools/analysis_tools/study.py trains the teacher first.
_base_ = ['supervised.py']
model = dict(
    type='DistilledClassifier',
    teacher='configs/study/teacher.py',
    teacher_checkpoint='work_dirs/study/teacher/seed0/epoch_10.pth',
    lam=0.5,
)
