"""Equations of the paper as functions of tensors. Needs torch and nothing else."""

from .divergence import symmetric_kl
from .images import (
    agreement,
    check_lam,
    check_loss_args,
    cosub_loss,
    multi_hot,
    smooth_labels,
    submodel_loss,
)
from .pixels import cosub_pixel_loss, pixel_accuracy, pixel_agreement
from .teachers import distillation_loss, label_loss, teacher_loss

__all__ = [
    'agreement',
    'check_lam',
    'check_loss_args',
    'cosub_loss',
    'cosub_pixel_loss',
    'distillation_loss',
    'label_loss',
    'multi_hot',
    'pixel_accuracy',
    'pixel_agreement',
    'smooth_labels',
    'submodel_loss',
    'symmetric_kl',
    'teacher_loss',
]
