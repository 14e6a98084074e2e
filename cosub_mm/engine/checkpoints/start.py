"""Weights that a training starts from."""

import copy
from collections.abc import Collection, Iterator

import torch
from mmengine.config import Config
from mmengine.logging import print_log
from mmengine.model import is_model_wrapper
from torch import Tensor, nn

from cosub_mm.architectures.position_grid import keep_notes

from ..finite.weights import some
from .acceptance import accepted, stop_unless
from .choose import find_weights
from .classes import keeps_head
from .compare import check_start_model
from .files import CheckpointError, load_checkpoint
from .match import Match, match_weights
from .parts import Fit, fit_of
from .whole import check_finite

__all__ = ['check_pretrained', 'paths_of_kept_heads', 'start_paths']


def check_pretrained(
    cfg: Config, model: nn.Module, accept: Collection[str] | None = None
) -> list[Match]:
    """Check every checkpoint that training would start from, and report what will be loaded.

    Looks at each ``init_cfg`` of type 'Pretrained' in the model and at ``cfg.load_from`` (not when
    ``cfg.resume`` is set: see :func:`check_resume`). All of the backbone must be in the checkpoint,
    and all that the checkpoint has of it in the model; heads, position embeddings and parts outside
    the backbone may start anew, which is said.

    Args:
        cfg: the config of the run.
        model: the model built from it, weights not yet loaded; an mmengine wrapper is unwrapped.
        accept: differences to go on with (:mod:`.acceptance`); None for those that
            ``cfg.accept`` names.

    Returns:
        One report a checkpoint, in the order of loading.

    Raises:
        CheckpointMissing: no such file.
        CheckpointError: truncated, nothing matches, or weights that are infinite or not a number.
        NotAccepted: a part of the backbone is missing, left over, or of another shape, or computes
            otherwise.
    """
    accept = accepted(cfg) if accept is None else accept
    model = model.module if is_model_wrapper(model) else model
    reports = []
    for name, module, init_cfg in _pretrained_parts(model):
        path, prefix = init_cfg['checkpoint'], init_cfg.get('prefix')
        if type(module).__module__.startswith('mmseg.models.backbones'):
            # These rename keys in init_weights, where nobody can look in advance.
            match = _own_loading(path, name, module, accept)
        else:
            match = _check(path, module, prefix, name or 'model', accept)
        if name == 'backbone':
            check_start_model(load_checkpoint(path, peek=True), path, cfg, accept)
        reports.append(match)
    path = cfg.get('load_from')
    if path and not cfg.get('resume'):
        reports.append(_check(path, model, None, 'model', accept))
        check_start_model(load_checkpoint(path, peek=True), path, cfg, accept)
    return reports


def start_paths(cfg: Config, model: nn.Module) -> list[str]:
    """Every file or address that a training starts from."""
    model = model.module if is_model_wrapper(model) else model
    paths = [init_cfg['checkpoint'] for _, _, init_cfg in _pretrained_parts(model)]
    return [*paths, *filter(None, [cfg.get('load_from')])]


def paths_of_kept_heads(cfg: Config, model: nn.Module) -> list[str]:
    """Checkpoints whose head a training takes over too, so that its labels must mean the same."""
    model = model.module if is_model_wrapper(model) else model
    starts = [(module, init['checkpoint']) for _, module, init in _pretrained_parts(model)]
    starts = [(module, path) for module, path in starts if module is model]
    if cfg.get('load_from'):
        starts.append((model, cfg.load_from))
    paths = []
    for module, path in starts:
        state, _ = _where_mmengine_looks(load_checkpoint(path, peek=True), path)
        if keeps_head(match_weights(module, state)):
            paths.append(path)
    return paths


def _check(
    path: str, module: nn.Module, prefix: str | None, owner: str, accept: Collection[str]
) -> Match:
    """Match weights to start from; they may leave the head out, but must fit the backbone."""
    checkpoint = load_checkpoint(path, peek=True, verify=True)
    state, evidence = _where_mmengine_looks(checkpoint, path)
    if prefix:
        state = _below(state, prefix, path, owner)
    match = match_weights(module, state)
    fit = fit_of(module, match)
    if not match.matched:
        raise CheckpointError(
            f"checkpoint '{path}' is of another architecture than '{owner}': {match}."
            f'{_prefix_hint(module, state)}'
        )
    if fit.lacking or fit.surplus:
        hint = _shapes(module, state, [n for n in fit.lacking if n in match.other_shape])
        message = f"checkpoint '{path}' is of another architecture than '{owner}': {fit}.{hint}"
        stop_unless('partial-weights', accept, message)
    left = {*match.unexpected, *match.other_shape}
    check_finite(path, module, {k: v for k, v in state.items() if k not in left})
    print_log(f'{owner} starts from {path}: {fit}. They are {evidence}', logger='current')
    return match


def _where_mmengine_looks(checkpoint: dict, path: str) -> tuple[dict[str, Tensor], str]:
    """The weights that mmengine will load, and a word about which they are."""
    found = {weights.key: weights for weights in find_weights(checkpoint)}
    weights = found.get('state_dict') or found.get(None)
    if weights is None:
        keys = ' and '.join(f"'{key}'" for key in found)
        raise CheckpointError(
            f"checkpoint '{path}' keeps its weights under {keys}, where mmengine does not look. "
            'Make a file for this model with tools/model_converters/convert.py.'
        )
    return weights.tensors, str(weights)


def _below(state: dict[str, Tensor], prefix: str, path: str, owner: str) -> dict[str, Tensor]:
    dotted = prefix if prefix.endswith('.') else f'{prefix}.'
    found = {n[len(dotted) :]: value for n, value in state.items() if n.startswith(dotted)}
    found = keep_notes(found, state, strip=dotted)
    if not found:
        tops = sorted({str(name).split('.')[0] for name in state})
        raise CheckpointError(
            f"checkpoint '{path}' has no key with prefix '{dotted}' for '{owner}': 0 tensors "
            f'match. Its keys start with {", ".join(tops[:8])}.'
        )
    return found


def _shapes(module: nn.Module, state: dict[str, Tensor], names: list[str]) -> str:
    """Say how the first tensor differs, and what that means for the first convolution."""
    if not names:
        return ''
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


def _own_loading(path: str, name: str, module: nn.Module, accept: Collection[str]) -> Match:
    """Let a copy load its weights in its own way, and see which of its tensors it has got."""
    load_checkpoint(path, peek=True, verify=True)
    trial = copy.deepcopy(module)
    with torch.no_grad():
        for parameter in trial.parameters():
            parameter.fill_(torch.nan)
    trial.init_weights()
    infinite = [key for key, value in trial.named_parameters() if value.isinf().any()]
    if infinite:
        raise CheckpointError(f"checkpoint '{path}' holds infinite weights: {some(infinite)}.")
    match = Match()
    for key, parameter in trial.named_parameters():
        (match.missing if parameter.isnan().any() else match.matched).append(key)
    fit: Fit = fit_of(trial, match)
    if not match.matched:
        raise CheckpointError(
            f"checkpoint '{path}' is of another architecture than '{name}': {match}."
        )
    if fit.lacking:
        message = f"checkpoint '{path}' is of another architecture than '{name}': {fit}."
        stop_unless('partial-weights', accept, message)
    print_log(f'{name} loads {path} in its own way. {fit}', logger='current')
    return match


def _pretrained_parts(model: nn.Module) -> Iterator[tuple[str, nn.Module, dict]]:
    """Every (name, module, init_cfg) whose weights come from a checkpoint."""
    for name, module in model.named_modules():
        init_cfgs = getattr(module, 'init_cfg', None)
        for init_cfg in init_cfgs if isinstance(init_cfgs, list | tuple) else [init_cfgs]:
            if isinstance(init_cfg, dict) and init_cfg.get('type') == 'Pretrained':
                yield name, module, init_cfg
