"""Look into checkpoints before hours are spent on them.

mmengine loads what fits and mentions the rest in a warning, so weights of another architecture or
under another prefix train from scratch unnoticed. Here they are errors.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from mmengine.config import Config
from mmengine.logging import print_log
from mmengine.model import is_model_wrapper
from mmengine.runner.checkpoint import CheckpointLoader
from torch import Tensor, nn

__all__ = [
    'CheckpointError',
    'Match',
    'check_pretrained',
    'check_resume',
    'check_weights',
    'latest_checkpoint',
    'load_checkpoint',
    'match_weights',
]

# Parts of a model that only training uses; a checkpoint may leave them out for testing.
TRAINING_ONLY = ('auxiliary_head.',)


class CheckpointError(ValueError):
    """A checkpoint that cannot be read, or does not belong to the model."""


class CheckpointMissing(FileNotFoundError):
    """There is no file under the name of the checkpoint."""


def load_checkpoint(path: str) -> dict:
    """Load a checkpoint to the CPU through mmengine, which knows torch's ``weights_only`` rules.

    Args:
        path: a local file, or an address that mmengine can load (``https://``, ``torchvision://``).

    Raises:
        CheckpointMissing: no such file; the message lists the checkpoints beside it.
        CheckpointError: truncated, or not a checkpoint.
    """
    path = os.fspath(path)
    if '://' not in path and not Path(path).expanduser().is_file():
        raise CheckpointMissing(f"checkpoint '{path}' does not exist. {_beside(Path(path))}")
    try:
        checkpoint = CheckpointLoader.load_checkpoint(path, map_location='cpu')
    except Exception as error:
        detail = next(iter(str(error).splitlines()), 'no detail')
        raise CheckpointError(
            f"checkpoint '{path}' cannot be read: it is truncated or no PyTorch checkpoint "
            f'({type(error).__name__}: {detail}). Copy or download it again.'
        ) from error
    if not isinstance(checkpoint, dict):
        raise CheckpointError(
            f"checkpoint '{path}' holds a {type(checkpoint).__name__}, not a dict of weights; save "
            'model.state_dict() instead of the model.'
        )
    return checkpoint


def _beside(path: Path) -> str:
    folder = path.expanduser().parent
    if not folder.is_dir():
        return f"There is no folder '{folder}' either."
    names = sorted(file.name for file in folder.glob('*.pth'))
    return f"'{folder}' holds {', '.join(names[:8]) if names else 'no checkpoint'}."


@dataclass
class Match:
    """How the tensors of a model and of a checkpoint fit together, by name."""

    matched: list[str] = field(default_factory=list)
    other_shape: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)

    @property
    def total(self) -> int:
        """Number of the model's tensors."""
        return len(self.matched) + len(self.other_shape) + len(self.missing)

    def __str__(self) -> str:
        text = f'{len(self.matched)}/{self.total} tensors of the model match'
        for names, label in (
            (self.other_shape, 'of another shape'),
            (self.missing, 'missing in the checkpoint'),
            (self.unexpected, 'only in the checkpoint'),
        ):
            if names:
                more = ', ...' if len(names) > 3 else ''
                text += f'; {len(names)} {label} ({", ".join(names[:3])}{more})'
        return text


def match_weights(model: nn.Module, state_dict: dict[str, Tensor]) -> Match:
    """Compare names and shapes, after the conversions that the model makes while loading.

    Loading hooks (resized position embeddings, old key names) run on a copy of the dict; neither
    the model nor ``state_dict`` changes.

    Args:
        model: the module that would load the weights.
        state_dict: the weights, named as in ``model``.
    """
    weights = {name.removeprefix('module.'): value for name, value in state_dict.items()}
    for name, module in model.named_modules():
        prefix = f'{name}.' if name else ''
        for hook in list(module._load_state_dict_pre_hooks.values()):
            hook(weights, prefix, {}, False, [], [], [])
    match = Match()
    for name, tensor in model.state_dict().items():
        if name.endswith('num_batches_tracked'):
            weights.pop(name, None)
        elif name not in weights:
            match.missing.append(name)
        elif getattr(weights.pop(name), 'shape', None) != tensor.shape:
            match.other_shape.append(name)
        else:
            match.matched.append(name)
    match.unexpected.extend(weights)
    return match


def _state_dict(checkpoint: dict) -> dict[str, Tensor]:
    return checkpoint.get('state_dict', checkpoint)


def _fine_tuning_match(path: str, module: nn.Module, prefix: str | None, owner: str) -> Match:
    """Match weights to start from; they may leave the head out, but must fit the rest."""
    state = _state_dict(load_checkpoint(path))
    if prefix:
        dotted = prefix if prefix.endswith('.') else f'{prefix}.'
        found = {
            name[len(dotted) :]: value for name, value in state.items() if name.startswith(dotted)
        }
        if not found:
            tops = sorted({str(name).split('.')[0] for name in state})
            raise CheckpointError(
                f"checkpoint '{path}' has no key with prefix '{dotted}' for {owner}: 0 tensors "
                f'match. Its keys start with {", ".join(tops[:8])}.'
            )
        state = found
    match = match_weights(module, state)
    # A head for other classes is made anew; anything else of another shape would stay random.
    unfit = [name for name in match.other_shape if 'head' not in name.partition('.')[0]]
    if not match.matched or unfit:
        hint = _shapes(module, state, unfit) if unfit else _prefix_hint(module, state)
        raise CheckpointError(
            f"checkpoint '{path}' is of another architecture than {owner}: {match}.{hint}"
        )
    return match


def _shapes(module: nn.Module, state: dict[str, Tensor], names: list[str]) -> str:
    """Say how the first tensor differs, and what that means for the first convolution."""
    name, own = names[0], module.state_dict()[names[0]].shape
    loaded = next(v.shape for k, v in state.items() if k.removeprefix('module.') == name)
    text = f' {name} is {tuple(loaded)} in the checkpoint and {tuple(own)} in the model.'
    if 'patch_embed' in name and loaded[:2] == own[:2]:
        text += f' The patch size is {loaded[-1]} in the checkpoint and {own[-1]} in the model.'
    return text


def _prefix_hint(module: nn.Module, state: dict[str, Tensor]) -> str:
    """Name the prefix under which the wanted names do occur, if there is one."""
    wanted = {name for name, _ in module.named_parameters()}
    prefixes = {
        name[: -len(want)]
        for want in list(wanted)[:50]
        for name in state
        if name.endswith(f'.{want}')
    }
    useful = [p for p in prefixes if sum(f'{p}{want}' in state for want in wanted) > 1]
    return f" Its names fit with prefix='{min(useful, key=len)}'." if useful else ''


def check_pretrained(cfg: Config, model: nn.Module) -> list[Match]:
    """Check every checkpoint that training would start from, and report what will be loaded.

    Looks at each ``init_cfg`` of type 'Pretrained' in the model and at ``cfg.load_from`` (not when
    ``cfg.resume`` is set: see :func:`check_resume`).

    Args:
        cfg: the config of the run.
        model: the model built from it, weights not yet loaded; an mmengine wrapper is unwrapped.

    Returns:
        One report a checkpoint, in the order of loading.

    Raises:
        CheckpointMissing: no such file.
        CheckpointError: truncated, nothing matches, or tensors outside the heads differ in shape.
    """
    model = model.module if is_model_wrapper(model) else model
    reports = []
    for name, module, init_cfg in _pretrained_parts(model):
        path, prefix = init_cfg['checkpoint'], init_cfg.get('prefix')
        if type(module).__module__.startswith('mmseg.models.backbones'):
            # These rename keys in init_weights, where nobody can look in advance.
            load_checkpoint(path)
            print_log(f'{name} loads {path} in its own way: not compared', logger='current')
            continue
        match = _fine_tuning_match(path, module, prefix, f"'{name or 'model'}'")
        print_log(f'{name or "model"} starts from {path}: {match}', logger='current')
        reports.append(match)
    path = cfg.get('load_from')
    if path and not cfg.get('resume'):
        match = _fine_tuning_match(path, model, None, 'the model')
        print_log(f'the model starts from {path}: {match}', logger='current')
        reports.append(match)
    return reports


def _pretrained_parts(model: nn.Module) -> Iterator[tuple[str, nn.Module, dict]]:
    """Every (name, module, init_cfg) whose weights come from a checkpoint."""
    for name, module in model.named_modules():
        init_cfgs = getattr(module, 'init_cfg', None)
        for init_cfg in init_cfgs if isinstance(init_cfgs, list | tuple) else [init_cfgs]:
            if isinstance(init_cfg, dict) and init_cfg.get('type') == 'Pretrained':
                yield name, module, init_cfg


def check_weights(path: str, model: nn.Module, training: bool = False) -> Match:
    """Check that a checkpoint holds all weights of ``model``, for testing or resuming.

    Args:
        path: the checkpoint.
        model: the model that will load it.
        training: also require the parts that only training uses.

    Raises:
        CheckpointMissing: no such file.
        CheckpointError: truncated, or a tensor is missing or of another shape.
    """
    model = model.module if is_model_wrapper(model) else model
    match = match_weights(model, _state_dict(load_checkpoint(path)))
    wrong = match.missing + match.other_shape
    needed = wrong if training else [n for n in wrong if not n.startswith(TRAINING_ONLY)]
    if needed or not match.matched:
        raise CheckpointError(
            f"checkpoint '{path}' is of another architecture than the config: {match}. Use the "
            'config it was trained with.'
        )
    return match


def check_resume(path: str) -> dict:
    """Check that training can go on from ``path`` and return the checkpoint's meta data.

    Raises:
        CheckpointMissing: no such file.
        CheckpointError: truncated, or weights alone, without optimizer and position.
    """
    checkpoint = load_checkpoint(path)
    meta = checkpoint.get('meta') or {}
    if 'optimizer' not in checkpoint or not {'epoch', 'iter'} <= meta.keys():
        raise CheckpointError(
            f"checkpoint '{path}' holds weights without the state of a training (best_*.pth and "
            'published files do), so it cannot be resumed. To start a new training from its '
            f'weights use --cfg-options load_from={path}'
        )
    return meta


def latest_checkpoint(work_dir: str) -> str | None:
    """The newest resumable checkpoint of a work dir, or ``None`` when it has none.

    mmengine's ``last_checkpoint`` comes first. It holds an absolute path, so after a move, or when
    the file was cut by a crash, the file with the highest epoch or iteration counts.
    """
    folder = Path(work_dir)
    pointer = folder / 'last_checkpoint'
    if pointer.is_file():
        named = folder / Path(pointer.read_text().strip()).name
        if named.is_file():
            return str(named)
    numbered = [
        (int(file.stem.split('_')[1]), file)
        for kind in ('epoch', 'iter')
        for file in folder.glob(f'{kind}_*.pth')
        if file.stem.split('_')[1].isdigit()
    ]
    return str(max(numbered)[1]) if numbered else None
