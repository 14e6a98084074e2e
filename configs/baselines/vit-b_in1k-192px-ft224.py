# Table 8, ViT-B: 20 epochs at 224 after 800 at 192, supervised (DeiT III).
_base_ = '../cosub/vit-b_in1k-192px-ft224.py'
model = dict(type='SupervisedClassifier')
load_from = 'work_dirs/baselines/vit-b_in1k-192px/epoch_800.pth'
