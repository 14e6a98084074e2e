# Table 8, ViT-B: 20 epochs at 224 after 800 at 128, supervised (DeiT III).
_base_ = '../cosub/vit-b_in1k-128px-ft224.py'
model = dict(type='SupervisedClassifier')
load_from = 'work_dirs/baselines/vit-b_in1k-128px/epoch_800.pth'
