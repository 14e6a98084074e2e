"""Networks that teach and are not trained: beside a model, and no part of it."""

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import torch
import torch.nn.functional as F
from mmengine.config import Config
from mmpretrain.registry import MODELS
from torch import Tensor, nn

from cosub_mm.engine.checkpoints import load_checkpoint
from cosub_mm.engine.checkpoints.files import state_dict_of

__all__ = ['Aside', 'Pixels', 'TeacherError', 'load_teacher']


class TeacherError(ValueError):
    """A teacher that cannot teach this student."""


class Aside:
    """A network beside a model: none of its modules, parameters, hooks or weights to save.

    It stays in evaluation mode (no dropout, no stochastic depth, running statistics), gets no
    gradient, and is shared by copies of the model.

    Args:
        module: the network.
    """

    def __init__(self, module: nn.Module) -> None:
        self.module = module.eval().requires_grad_(False)

    def __call__(self, *args, **kwargs) -> Any:
        """What the network returns, without gradient."""
        with torch.no_grad():
            return self.module(*args, **kwargs)

    def __deepcopy__(self, memo: dict) -> 'Aside':
        return self

    def move(self, fn: Callable) -> None:
        """Take it to where its model moves, and to its precision."""
        self.module._apply(fn)


class Pixels:
    """From the student's images to the teacher's: size and normalisation.

    Args:
        student: (mean, std) of the student's data preprocessor, by channel, or None.
        teacher: the teacher's, or None for the student's.
        size: side of the teacher's images in pixels, or None for the student's.
    """

    def __init__(self, student: tuple | None, teacher: tuple | None, size: int | None) -> None:
        self.size = size
        self.change: tuple | None = None
        if student is not None and teacher is not None:
            (mean, std), (its_mean, its_std) = (
                tuple(torch.tensor(v, dtype=torch.double).view(-1, 1, 1) for v in pair)
                for pair in (student, teacher)
            )
            factor, shift = std / its_std, (mean - its_mean) / its_std
            if not (torch.allclose(factor, torch.ones(1).double()) and shift.abs().max() < 1e-6):
                self.change = factor, shift

    def __call__(self, images: Tensor) -> Tensor:
        """(batch, channels, height, width) of any size -> the teacher's."""
        if self.change is not None:
            factor, shift = (value.to(images) for value in self.change)
            images = images * factor + shift
        if self.size is not None and images.shape[-2:] != (self.size, self.size):
            images = F.interpolate(
                images, (self.size, self.size), mode='bicubic', antialias=True, align_corners=False
            )
        return images


def load_teacher(
    teacher: dict | str, checkpoint: str | None, student: nn.Module, size: int | None
) -> tuple[Aside, Pixels]:
    """Build a teacher and load all of its weights.

    Args:
        teacher: a model of mmpretrain (also ``TimmClassifier``), or the path of a config with one.
        checkpoint: its weights; None where its config brings them (``pretrained``, ``init_cfg``).
        student: the classifier that learns from it.
        size: side of its images in pixels; None for the student's.

    Raises:
        TeacherError: no weights, weights that do not load whole, other classes than the student's.
        CheckpointMissing, CheckpointError: the checkpoint cannot be read.
    """
    cfg = deepcopy(teacher)
    if isinstance(teacher, str):
        whole = Config.fromfile(teacher)
        cfg = whole.model
        if whole.get('data_preprocessor'):
            cfg.setdefault('data_preprocessor', whole.data_preprocessor)
    if not isinstance(cfg, dict) or 'type' not in cfg:
        raise TeacherError(
            f'teacher={teacher!r} must be the config of a classifier, a dict with `type`, or the '
            f'path of a config that has one as `model`.'
        )
    backbone = cfg.get('backbone') or {}
    brings = [part for part in (cfg, backbone) if part.get('init_cfg') or part.get('pretrained')]
    if checkpoint is None and not brings:
        raise TeacherError(
            f'The teacher {cfg["type"]} has no weights: give teacher_checkpoint, or '
            f"pretrained=True or init_cfg=dict(type='Pretrained', checkpoint=...) in its config. A "
            f'network that nobody trained teaches noise.'
        )
    cfg.pop('train_cfg', None)  # mixing is the student's
    module = MODELS.build(cfg)
    if checkpoint is None:
        module.init_weights()
    else:
        _load_whole(module, checkpoint)
    _check_classes(module, student)
    return Aside(module), Pixels(_normalisation(student), _normalisation(module), size)


def _load_whole(module: nn.Module, path: str) -> None:
    weights = state_dict_of(load_checkpoint(path))
    weights = {name.removeprefix('module.'): value for name, value in weights.items()}
    kind = type(module).__name__
    try:
        result = module.load_state_dict(weights, strict=False)
    except RuntimeError as error:
        detail = ' '.join(str(error).splitlines()[1:3]).strip()
        raise TeacherError(
            f"teacher_checkpoint='{path}' is not of the teacher's architecture ({kind}): {detail}"
        ) from None
    surplus = [name for name in result.unexpected_keys if '.loss' not in name]
    wrong = [('lacks', result.missing_keys), ('also holds', surplus)]
    said = [f'{what} {len(names)} ({", ".join(names[:3])})' for what, names in wrong if names]
    if said:
        raise TeacherError(
            f"teacher_checkpoint='{path}' does not load whole into the teacher ({kind}): of its "
            f'tensors it {" and ".join(said)}. Use the config that it was trained with.'
        )


def _check_classes(module: nn.Module, student: nn.Module) -> None:
    have, want = classes_of(module), classes_of(student)
    if have is not None and want is not None and have != want:
        raise TeacherError(
            f'The teacher has {have} classes and the student {want}: their scores cannot be '
            f'compared. Use a teacher that was trained on the same classes, in the same order.'
        )


def classes_of(module: nn.Module) -> int | None:
    """Number of classes of a classifier, where it can be known without running it."""
    for part in (getattr(module, 'head', None), getattr(module, 'model', None), module):
        number = getattr(part, 'num_classes', None)
        if isinstance(number, int):
            return number
    return None


def _normalisation(classifier: nn.Module) -> tuple | None:
    """Mean and deviation of its data preprocessor, or of timm's settings, on a scale to 255."""
    preprocessor = getattr(classifier, 'data_preprocessor', None)
    if getattr(preprocessor, '_enable_normalize', False):
        return tuple(getattr(preprocessor, name).flatten().tolist() for name in ('mean', 'std'))
    settings = getattr(getattr(classifier, 'model', None), 'pretrained_cfg', None) or {}
    if settings.get('mean') and settings.get('std'):
        return tuple([255 * value for value in settings[name]] for name in ('mean', 'std'))
    return None
