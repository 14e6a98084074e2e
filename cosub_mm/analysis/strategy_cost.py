"""What a training step of each strategy costs, on one model (paper, Figure 2)."""

import tempfile
from copy import deepcopy
from pathlib import Path
from typing import NamedTuple

import torch
from mmengine.config import Config
from mmengine.optim import OptimWrapper, build_optim_wrapper
from mmengine.registry import MODELS, init_default_scope
from mmpretrain.structures import DataSample
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from .measure import Step, peak_bytes

__all__ = ['FIGURE_2', 'StrategyCost', 'Trainee', 'cost_of', 'trainee']

FIGURE_2 = {
    'SupervisedClassifier': ('x1', 'x1', 'x1'),
    'DistilledClassifier': ('x2', 'x1', 'x1.33'),
    'MeanTeacherClassifier': ('x2', 'x1', 'x1.33'),
    'CoTrainingClassifier': ('x2', 'x2', 'x2'),
    'CosubClassifier': ('x1', 'x1', 'x2'),
}
"""Type of a model -> weights, optimizer and compute of the paper's Figure 2, which counts a
backward pass as two forward passes, and no stochastic depth."""


class Trainee(NamedTuple):
    """A model with what a step of it needs."""

    model: nn.Module
    wrapper: OptimWrapper
    step: Step


class StrategyCost(NamedTuple):
    """Counted and measured cost of a step.

    Attributes:
        weights: parameters in memory, those of a teacher included.
        optimizer: values that the optimizer keeps.
        flops: multiply-adds of forward and backward, of the whole batch.
        peak_bytes: of a step, beyond what is there before it.
    """

    weights: int
    optimizer: int
    flops: int
    peak_bytes: int


def trainee(cfg: Config, batch: int, size: int, device: str) -> Trainee:
    """Build the model of a config for random images.

    A teacher of :class:`DistilledClassifier` is one of the student's size, as Figure 2 reckons,
    with random weights.

    Args:
        cfg: config of a classifier with an optimizer.
        batch: images a step.
        size: side of the images in pixels.
        device: ``'cpu'`` or ``'cuda'``.
    """
    init_default_scope(cfg.get('default_scope', 'mmpretrain'))
    model_cfg = deepcopy(cfg.model)
    model_cfg.pop('train_cfg', None)
    model_cfg.backbone.pop('init_cfg', None)
    with tempfile.TemporaryDirectory() as folder:
        if 'teacher_checkpoint' in model_cfg:
            _teacher_of_its_size(model_cfg, Path(folder) / 'teacher.pth')
        torch.manual_seed(0)
        model = MODELS.build(model_cfg)
    model = model.to(device).train()
    if hasattr(model, 'start_teacher'):
        model.start_teacher()
    wrapper = build_optim_wrapper(model, deepcopy(cfg.optim_wrapper))
    images = torch.randn(batch, 3, size, size, device=device)
    labels = torch.arange(batch, device=device) % model.head.num_classes
    samples = [DataSample().set_gt_label(label) for label in labels]

    def forward() -> Tensor:
        return model.parse_losses(model(images, samples, mode='loss'))[0]

    return Trainee(model, wrapper, Step(forward, list(model.parameters()), torch.device(device)))


def cost_of(trained: Trainee) -> StrategyCost:
    """Count one step, and take it, so that the optimizer has its state."""
    model, wrapper, step = trained
    teacher = getattr(model, 'teacher', None)
    teachers = [teacher.module] if hasattr(teacher, 'module') else []
    weights = sum(p.numel() for part in (model, *teachers) for p in part.parameters())
    step()  # what is tried or looked up once is no part of a step
    counter = FlopCounterMode(display=False)
    with counter:
        loss = step.forward()
        loss.backward()
    wrapper.step()
    wrapper.zero_grad()
    state = wrapper.optimizer.state.values()
    kept = sum(
        v.numel() for entry in state for v in entry.values() if torch.is_tensor(v) and v.dim()
    )
    return StrategyCost(
        weights, kept, counter.get_total_flops() // 2, peak_bytes(step, step.device)
    )


def _teacher_of_its_size(model_cfg: dict, file: Path) -> None:
    parts = {
        key: deepcopy(model_cfg[key]) for key in ('backbone', 'neck', 'head') if key in model_cfg
    }
    teacher = dict(type='ImageClassifier', **parts)
    torch.save(MODELS.build(deepcopy(teacher)).state_dict(), file)
    model_cfg.update(teacher=teacher, teacher_checkpoint=str(file), teacher_size=None)
