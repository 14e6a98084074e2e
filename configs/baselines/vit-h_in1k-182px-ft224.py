# Table 8, ViT-H: 20 epochs at 224 after 800 at 182, supervised (DeiT III).
_base_ = '../cosub/vit-h_in1k-182px-ft224.py'
model = dict(type='SupervisedClassifier')
load_from = 'work_dirs/baselines/vit-h_in1k-182px/epoch_800.pth'
