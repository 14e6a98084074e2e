# Table 4, ViT-H: 800 epochs on ImageNet-1k at 224, drop rate .6, knowledge distillation.
_base_ = '../cosub/vit-h_in1k.py'
model = dict(
    type='DistilledClassifier',
    # The paper names no teacher; ours: DeiT's RegNetY-16GF and its hard label (Figure 2). It was
    # trained with softmax, so that its sigmoid is no target. Weights: timm's regnety_160.deit_in1k
    teacher=dict(type='TimmClassifier', model_name='regnety_160', num_classes=1000),
    teacher_checkpoint='checkpoints/regnety_160.deit_in1k.pth',
    teacher_target='hard',
    lam=0.5,
)
