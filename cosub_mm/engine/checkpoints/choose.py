"""Which weights a checkpoint holds: those that were trained (raw), or their average (EMA)."""

from argparse import ArgumentParser, Namespace
from dataclasses import dataclass

from torch import Tensor

from cosub_mm.architectures.position_grid import keep_notes

from .files import CheckpointError
from .recorded import ema_hooks, recorded_config

__all__ = [
    'AVERAGED',
    'RAW',
    'UNKNOWN',
    'Weights',
    'add_weights_arguments',
    'choose_weights',
    'find_weights',
    'validated_kind',
    'wanted_kind',
]

AVERAGED, RAW, UNKNOWN = 'averaged', 'raw', 'unknown'

# facebookresearch's repositories and timm keep the average under its own name.
_PAIRS = {'model_ema': 'model', 'state_dict_ema': 'state_dict'}
_KEYS = ('state_dict', 'model', 'ema_state_dict', *_PAIRS)
# How mmengine's and torch's averaged models count their updates, beside the weights.
_COUNTERS = ('steps', 'n_averaged')


@dataclass(frozen=True)
class Weights:
    """One set of weights in a checkpoint.

    Args:
        kind: 'averaged', 'raw', or 'unknown' where the file does not tell.
        key: where the file keeps them; None if the file is the state dict itself.
        tensors: the weights, without the names of wrappers and without counters.
        evidence: how we know the kind, in words.
    """

    kind: str
    key: str | None
    tensors: dict[str, Tensor]
    evidence: str

    def __str__(self) -> str:
        names = {AVERAGED: 'the averaged weights (EMA)', RAW: 'the raw (trained) weights'}
        what = names.get(self.kind, 'weights, raw or averaged')
        place = f"under '{self.key}'" if self.key else 'as a bare state dict'
        return f'{what} {place}: {self.evidence}'


def find_weights(checkpoint: dict) -> list[Weights]:
    """All sets of weights in a checkpoint, and which of them is the average.

    mmengine's EMAHook swaps the two when it saves: the average is under ``state_dict``, the raw
    weights under ``ema_state_dict``. Other training codes name the average.

    Raises:
        CheckpointError: no weights, or something among them that is no tensor.
    """
    keys = [key for key in _KEYS if isinstance(checkpoint.get(key), dict)]
    averages = [key for key in keys if key in _PAIRS]
    if 'ema_state_dict' in keys and not averages:
        return _swapped(checkpoint)
    if len(averages) == 1 and 'ema_state_dict' not in keys:
        average = averages[0]
        evidence = f"the file has '{average}', as timm and the DeiT repository save"
        found = [_weights(AVERAGED, checkpoint, average, evidence)]
        if _PAIRS[average] in keys:
            found.append(_weights(RAW, checkpoint, _PAIRS[average], evidence))
        return found
    if len(keys) > 1:
        evidence = f'the file has {", ".join(keys)}, and nothing tells which is what'
        return [_weights(UNKNOWN, checkpoint, key, evidence) for key in keys]
    return [_single(checkpoint, keys[0] if keys else None)]


def choose_weights(
    checkpoint: dict,
    path: str,
    want: str | None = None,
    key: str | None = None,
    default: str = RAW,
) -> Weights:
    """One set of weights of a checkpoint.

    Args:
        checkpoint: the loaded file.
        path: its name, for messages.
        want: 'averaged' or 'raw' as the user asked; None where nothing was asked for.
        key: where in the file they are, as the user says; goes before everything else.
        default: which of two to take where nothing was asked for.

    Raises:
        CheckpointError: it does not hold what was asked for, or does not tell which is which.
    """
    if key is not None:
        return _named(checkpoint, path, key)
    found = find_weights(checkpoint)
    kinds = {weights.kind: weights for weights in found}
    if UNKNOWN in kinds and (want or len(found) > 1):
        raise CheckpointError(
            f"checkpoint '{path}' does not tell its averaged weights (EMA) from its raw ones: "
            f'{found[0].evidence}. Choose by --weights-key {" or ".join(_names(found))}.'
        )
    if want and want not in kinds:
        if want == AVERAGED:
            raise CheckpointError(
                f"checkpoint '{path}' holds no averaged weights (EMA): {found[0].evidence}. Leave "
                '--ema out.'
            )
        raise CheckpointError(f"checkpoint '{path}' holds no raw weights, only {found[0]}.")
    return kinds.get(want or default, found[0])


def validated_kind(checkpoint: dict) -> str:
    """Which weights the training validated: the average, unless its hook was told otherwise."""
    hooks = list(ema_hooks(recorded_config(checkpoint)))
    if any(hook.get('evaluate_on_ema', True) is False for hook in hooks):
        return RAW
    if not hooks and any(key in checkpoint for key in _PAIRS):
        return RAW
    return AVERAGED


def add_weights_arguments(parser: ArgumentParser, default: str) -> None:
    """Add ``--ema``, ``--raw`` and ``--weights-key`` to a tool."""
    group = parser.add_mutually_exclusive_group()
    for flag, text in (('--ema', 'averaged (EMA)'), ('--raw', 'raw, trained')):
        group.add_argument(flag, action='store_true', help=f'take the {text} weights')
    group.add_argument(
        '--weights-key',
        metavar='KEY',
        help='take the weights that the file keeps under KEY; without any of the three, of a file '
        f'that holds both, {default}',
    )


def wanted_kind(args: Namespace) -> str | None:
    """What the options of :func:`add_weights_arguments` ask for."""
    return AVERAGED if args.ema else RAW if args.raw else None


def _swapped(checkpoint: dict) -> list[Weights]:
    average = checkpoint['ema_state_dict']
    names = [name for name in average if name not in _COUNTERS]
    hooks = list(ema_hooks(recorded_config(checkpoint)))
    wrapped = bool(names) and all(name.startswith('module.') for name in names)
    if 'state_dict' not in checkpoint or not wrapped or not (hooks or 'steps' in average):
        evidence = "the file has 'ema_state_dict', but not as mmengine's EMAHook saves it"
        keys = [key for key in ('state_dict', 'model', 'ema_state_dict') if key in checkpoint]
        return [_weights(UNKNOWN, checkpoint, key, evidence) for key in keys]
    hook = (
        f'its config has {_described(hooks[0])}' if hooks else 'it counts the updates as mmengine'
    )
    updates = f', after {int(average["steps"])} updates' if 'steps' in average else ''
    evidence = (
        f"{hook}{updates}; mmengine's hook saves the average under 'state_dict' and the raw "
        "weights under 'ema_state_dict'"
    )
    return [
        _weights(AVERAGED, checkpoint, 'state_dict', evidence),
        _weights(RAW, checkpoint, 'ema_state_dict', evidence),
    ]


def _single(checkpoint: dict, key: str | None) -> Weights:
    meta = checkpoint.get('meta') if isinstance(checkpoint.get('meta'), dict) else {}
    state = checkpoint if key is None else checkpoint[key]
    hooks = list(ema_hooks(recorded_config(checkpoint)))
    if meta.get('weights') in (AVERAGED, RAW):
        kind, evidence = meta['weights'], 'so it was published'
    elif any(name in state for name in _COUNTERS) and any(n.startswith('module.') for n in state):
        kind, evidence = AVERAGED, 'an averaged model, which counts its updates'
    elif any(f'ema_{name.replace(".", "_")}' in state for name in state):
        kind, evidence = UNKNOWN, 'each tensor is there again as ema_..., as mmcv 1 saves both'
    elif hooks:
        kind = UNKNOWN
        evidence = f'its config has {_described(hooks[0])}, but one of the two sets was taken out'
    else:
        kind, evidence = RAW, 'nothing in the file speaks of an average'
    return _weights(kind, checkpoint, key, evidence)


def _weights(kind: str, checkpoint: dict, key: str | None, evidence: str) -> Weights:
    whole = state = checkpoint if key is None else checkpoint[key]
    if key is None:
        state = {name: value for name, value in state.items() if name != 'meta'}
    counters = [name for name in _COUNTERS if any(n.startswith('module.') for n in state)]
    state = {name: value for name, value in state.items() if name not in counters}
    wrong = [name for name, value in state.items() if not isinstance(value, Tensor)]
    if wrong or not state:
        place = f" under '{key}'" if key else ''
        named = f'; see its key {wrong[0]!r}' if wrong else ''
        raise CheckpointError(f'the checkpoint holds no plain weights{place}{named}.')
    strip = 'module.' if all(name.startswith('module.') for name in state) else ''
    state = {name.removeprefix(strip): value for name, value in state.items()}
    return Weights(kind, key, keep_notes(state, whole, strip), evidence)


def _named(checkpoint: dict, path: str, key: str) -> Weights:
    if not isinstance(checkpoint.get(key), dict):
        known = ', '.join(k for k, v in checkpoint.items() if isinstance(v, dict) and k != 'meta')
        raise CheckpointError(
            f"checkpoint '{path}' has no weights under '{key}'; it has {known or 'none'}."
        )
    same = [w for w in _quietly(checkpoint) if w.key == key]
    if same:
        return same[0]
    return _weights(UNKNOWN, checkpoint, key, 'chosen by --weights-key')


def _quietly(checkpoint: dict) -> list[Weights]:
    """What can be found; a set beside the named one may be no weights at all."""
    try:
        return find_weights(checkpoint)
    except CheckpointError:
        return []


def _names(found: list[Weights]) -> list[str]:
    return [weights.key for weights in found if weights.key] or ['KEY']


def _described(hook: dict) -> str:
    arguments = ', '.join(f'{name}={value!r}' for name, value in hook.items() if name != 'type')
    return f'{str(hook["type"]).rpartition(".")[2]}({arguments})'
