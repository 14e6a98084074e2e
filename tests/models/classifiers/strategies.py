"""Small classifiers of every strategy, and plain torch beside them."""

import copy
from pathlib import Path

import torch
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample

import cosub_mm  # noqa: F401

TINY = dict(embed_dims=16, num_layers=2, num_heads=2, feedforward_channels=32)
CLASSES = 5
NAMES = (
    'CosubClassifier',
    'CosubClassifier, kl',
    'DistilledClassifier',
    'DistilledClassifier, cosub',
    'MeanTeacherClassifier',
    'CoTrainingClassifier',
    'MaskSubClassifier',
    'MaskSubClassifier, path',
)


def network(embed_dims: int = 16, img_size: int = 16) -> dict:
    arch = dict(TINY, embed_dims=embed_dims)
    backbone = dict(
        type='CosubViT', arch=arch, img_size=img_size, patch_size=4, layer_scale_init_value=0.5
    )
    head = dict(
        type='LinearClsHead',
        num_classes=CLASSES,
        in_channels=embed_dims,
        init_cfg=dict(type='TruncNormal', layer='Linear', std=0.5),
    )
    return dict(backbone=backbone, head=head)


def config(name: str, folder: Path, **kwargs) -> dict:
    """What a user would write; the teacher's checkpoint lies in ``folder``."""
    kind, _, variant = name.partition(', ')
    cfg = dict(type=kind, **network(), drop_path_rate=0.25)
    if kind == 'DistilledClassifier':
        cfg.update(
            teacher=dict(type='ImageClassifier', **network(24, 24)),
            teacher_checkpoint=str(checkpoint(folder)),
            teacher_size=24,
        )
    if kind == 'MeanTeacherClassifier':
        cfg.update(momentum=0.9, momentum_start=0.5, momentum_steps=2)
    cfg.update(
        {
            'kl': dict(consistency='kl'),
            'cosub': dict(num_submodels=2),
            'path': dict(sub='path', ratio=0.5),
        }.get(variant, {})
    )
    cfg.update(kwargs)
    return copy.deepcopy(cfg)


def checkpoint(folder: Path) -> Path:
    path = folder / 'teacher.pth'
    if not path.exists():
        torch.manual_seed(9)
        teacher = MODELS.build(dict(type='ImageClassifier', **network(24, 24)))
        teacher.init_weights()
        torch.save(dict(state_dict=teacher.state_dict()), path)
    return path


def build(name: str, folder: Path, seed: int = 0, **kwargs):
    torch.manual_seed(seed)
    model = MODELS.build(config(name, folder, **kwargs))
    model.init_weights()
    return model.double().train()


def batch(images: int = 4, seed: int = 1) -> tuple[torch.Tensor, torch.Tensor, list[DataSample]]:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(images, 3, 16, 16, dtype=torch.double, generator=generator)
    labels = torch.randint(CLASSES, (images,), generator=generator)
    return x, labels, [DataSample().set_gt_label(label) for label in labels]
