"""Weights that a training starts from."""

from collections.abc import Iterator

from mmengine.config import Config
from mmengine.logging import print_log
from mmengine.model import is_model_wrapper
from torch import Tensor, nn

from .files import CheckpointError, load_checkpoint, state_dict_of
from .match import Match, match_weights

__all__ = ['check_pretrained']


def _fine_tuning_match(path: str, module: nn.Module, prefix: str | None, owner: str) -> Match:
    """Match weights to start from; they may leave the head out, but must fit the rest."""
    state = state_dict_of(load_checkpoint(path))
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
