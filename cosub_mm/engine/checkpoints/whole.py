"""Checkpoints that must hold all of a model: for a test, or to resume from."""

from collections.abc import Collection

from mmengine.model import is_model_wrapper
from torch import Tensor, nn

from ..finite.weights import not_finite, some, weights_of
from .acceptance import stop_unless
from .choose import AVERAGED, find_weights
from .files import CheckpointError, load_checkpoint, state_dict_of
from .match import Match, match_weights
from .parts import COMPUTED
from .recorded import ema_hooks

__all__ = ['check_resume', 'check_weights']

# Parts of a model that only training uses; a checkpoint may leave them out for testing.
TRAINING_ONLY = ('auxiliary_head.',)


def check_weights(
    path: str,
    model: nn.Module,
    training: bool = False,
    state_dict: dict[str, Tensor] | None = None,
    accept: Collection[str] = (),
) -> Match:
    """Check that a checkpoint holds all weights of ``model``, for testing or resuming.

    Args:
        path: the checkpoint.
        model: the model that will load it.
        training: also require the parts that only training uses.
        state_dict: the weights chosen from the checkpoint; None for those that mmengine takes.
        accept: accepted differences.

    Raises:
        CheckpointMissing: no such file.
        CheckpointError: truncated, or a tensor is missing, of another shape or not finite.
        NotAccepted: tensors of the checkpoint have no place in the model.
    """
    model = model.module if is_model_wrapper(model) else model
    if state_dict is None:
        state_dict = state_dict_of(load_checkpoint(path, peek=True))
    match = match_weights(model, state_dict)
    wrong = match.missing + match.other_shape
    needed = wrong if training else [n for n in wrong if not n.startswith(TRAINING_ONLY)]
    if needed or not match.matched:
        raise CheckpointError(
            f"checkpoint '{path}' is of another architecture than the config: {match}. Use the "
            'config it was trained with.'
        )
    surplus = [name for name in match.unexpected if not _may_be_left(name)]
    if surplus:
        more = f', ... ({len(surplus)})' if len(surplus) > 3 else ''
        message = (
            f"checkpoint '{path}' is of another architecture than the config: {match}. Left over: "
            f'{", ".join(surplus[:3])}{more}. Use the config it was trained with.'
        )
        stop_unless('partial-weights', accept, message)
    check_finite(path, model, state_dict)
    return match


def check_finite(path: str, model: nn.Module, state_dict: dict[str, Tensor]) -> None:
    """Refuse weights that are infinite or not a number; reads all of those that the model takes.

    Raises:
        CheckpointError: naming the tensors.
    """
    used = weights_of(model)
    weights = {k: v for k, v in state_dict.items() if k.removeprefix('module.') in used}
    bad = not_finite(weights)
    if bad:
        raise CheckpointError(
            f"checkpoint '{path}' holds weights that are infinite or not a number: {some(bad)}. "
            'Its training had diverged; take an earlier checkpoint.'
        )


def _may_be_left(name: str) -> bool:
    """Parts of a training, and what is computed anew."""
    return name.startswith(TRAINING_ONLY) or '.loss' in name or name.endswith(COMPUTED)


def check_resume(path: str, cfg: dict | None = None, verify: bool = False) -> dict:
    """Check that training can go on from ``path`` and return the checkpoint's meta data.

    Args:
        path: the checkpoint.
        cfg: the config that will go on; None leaves its hooks out.
        verify: compare the file with its checksums.

    Raises:
        CheckpointMissing: no such file.
        DamagedCheckpoint: it is not what was written.
        CheckpointError: truncated, weights alone, without optimizer and position, or averaged
            weights where no hook knows of them.
    """
    checkpoint = load_checkpoint(path, peek=True, verify=verify)
    meta = checkpoint.get('meta') or {}
    if 'optimizer' not in checkpoint or not {'epoch', 'iter'} <= meta.keys():
        raise CheckpointError(
            f"checkpoint '{path}' holds weights without the state of a training (best_*.pth and "
            'published files do), so it cannot be resumed. To start a new training from its '
            f'weights use --cfg-options load_from={path}'
        )
    averaged = [w.kind for w in find_weights(checkpoint) if w.key == 'state_dict'] == [AVERAGED]
    if averaged and cfg is not None and not any(ema_hooks(cfg)):
        raise CheckpointError(
            f"checkpoint '{path}' keeps the averaged weights (EMA) where mmengine looks, and the "
            'optimizer belongs to the raw ones. Go on with the EMAHook that it was trained with in '
            'custom_hooks, or start a new training from what tools/model_converters/'
            'publish_model.py writes with --raw or --ema.'
        )
    return meta
