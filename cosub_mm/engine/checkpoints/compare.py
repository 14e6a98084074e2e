"""What a model computes otherwise than the one that a checkpoint was trained as.

No tensor tells the number of heads, the padding of the patches, the normalisation of the pictures
or their order of colours. The config that mmengine records in the checkpoint does.
"""

import inspect
import logging
from collections.abc import Collection, Iterator
from dataclasses import dataclass

from mmengine.logging import print_log
from mmengine.registry import MODELS

from .acceptance import stop_unless
from .recorded import recorded_config

__all__ = ['Difference', 'check_start_model', 'check_tested_model', 'differences']

# Parts of a model that a test uses.
_PARTS = ('backbone', 'neck', 'head', 'decode_head', 'data_preprocessor', 'test_cfg')
# Settings of the training: they change no output of a trained model.
_TRAINING = {
    *('init_cfg', 'pretrained', 'train_cfg', 'loss', 'loss_decode', 'cal_acc', 'topk', 'sampler'),
    *('drop_path_rate', 'drop_rate', 'attn_drop_rate', 'proj_drop_rate', 'dropout_ratio'),
    *('frozen_stages', 'norm_eval', 'with_cp', 'requires_grad', 'batch_augments', 'to_onehot'),
    *('ignore_index', 'num_classes', 'size', 'seg_pad_val', 'checkpoint_path'),
    'pretrained_grid',
}
# Settings that a test may have its own of; they are said.
_FREE = ('img_size', 'test_cfg', 'pad_val', 'pad_value', 'pad_size_divisor', 'size_divisor')
# What must not change between pre-training and fine-tuning, and nobody sees it in the tensors.
_UNSEEN = ('num_heads', 'act_cfg', 'norm_cfg', 'eps', 'qk_scale', 'interpolate_mode')
_SWAPS = ('to_rgb', 'bgr_to_rgb', 'rgb_to_bgr')
# What may, since segmentation pads and a few data sets have their own normalisation; it is said.
_SAID = ('mean', 'std', 'to_rgb', 'padding')
_UNSET = '(not set)'


@dataclass(frozen=True)
class Difference:
    """A setting that the checkpoint's model and this one have differently."""

    path: str
    trained: object
    now: object

    def __str__(self) -> str:
        return f'{self.path} was {self.trained!r} in training and is {self.now!r}'

    def about(self, names: Collection[str]) -> bool:
        """Whether one of ``names`` is on the path."""
        return not set(self.path.split('.')).isdisjoint(names)


def differences(trained: dict, now: dict) -> list[Difference]:
    """Compare two configs, as far as a trained model's outputs depend on them.

    A setting that only one of them names is compared with the default of the class.

    Args:
        trained: the whole config recorded in a checkpoint.
        now: the whole config of this run.
    """
    ours, theirs = (_model_of(cfg) for cfg in (now, trained))
    found = []
    for part in _PARTS:
        if theirs.get(part) or ours.get(part):
            found += _compare(theirs.get(part) or {}, ours.get(part) or {}, f'model.{part}')
    return found


def check_tested_model(checkpoint: dict, path: str, cfg: dict, accept: Collection[str]) -> None:
    """Stop where the model of a test computes otherwise than the one that was trained.

    Args:
        checkpoint: the loaded file.
        path: its name, for messages.
        cfg: the config of the test.
        accept: accepted differences.

    Raises:
        NotAccepted: naming each setting with both values.
    """
    recorded = recorded_config(checkpoint)
    if recorded is None:
        print_log(
            f'{path} records no config: whether the number of heads, the padding, the mean and std '
            'and the order of colours are those of its training cannot be compared',
            logger='current',
        )
        return
    found = differences(recorded, cfg)
    _warn(path, [difference for difference in found if difference.about(_FREE)])
    wrong = [difference for difference in found if not difference.about(_FREE)]
    if wrong:
        stop_unless('other-model', accept, _message(path, wrong))


def check_start_model(checkpoint: dict, path: str, cfg: dict, accept: Collection[str]) -> None:
    """The same for weights to start from, whose head, size and outputs may be other ones.

    Raises:
        NotAccepted: the backbone computes otherwise in a way that no tensor shows.
    """
    recorded = recorded_config(checkpoint)
    if recorded is None or not cfg.get('model'):
        return
    found = differences(recorded, cfg)
    _warn(path, [difference for difference in found if difference.about(_SAID)])
    wrong = [d for d in found if d.about(['backbone']) and d.about(_UNSEEN)]
    if wrong:
        stop_unless('other-model', accept, _message(path, wrong))


def _message(path: str, found: list[Difference]) -> str:
    return (
        f"checkpoint '{path}' was trained as another model, although its tensors fit: "
        f'{"; ".join(map(str, found))}. Use the config it was trained with.'
    )


def _warn(path: str, found: list[Difference]) -> None:
    for difference in found:
        print_log(f'{path}: {difference}', logger='current', level=logging.WARNING)


def _model_of(cfg: dict) -> dict:
    """The model of a config without wrappers, with the data preprocessor that may stand beside it.

    The libraries name the order of colours differently.
    """
    model = cfg.get('model') or {}
    while isinstance(model.get('module'), dict):  # test-time augmentation
        model = model['module']
    colours = model.get('data_preprocessor') or cfg.get('data_preprocessor') or {}
    swapped = any(colours.get(name) for name in _SWAPS)
    colours = {name: colours[name] for name in colours if name not in (*_SWAPS, 'type')}
    return {**model, 'data_preprocessor': {**colours, 'to_rgb': swapped}}


def _compare(trained: object, now: object, path: str) -> Iterator[Difference]:
    if not (isinstance(trained, dict) and isinstance(now, dict)):
        trained, now = _plain(trained), _plain(now)
        if trained != now:
            yield Difference(path, trained, now)
        return
    trained, now = _unwrapped(trained), _unwrapped(now)
    kinds = [_kind(settings) for settings in (trained, now)]
    if all(kinds) and kinds[0] != kinds[1]:
        yield Difference(f'{path}.type', *kinds)
        return
    cls = _class_of(now)
    for key in sorted({*trained, *now} - _TRAINING - {'type'}):
        pair = [s[key] if key in s else _default(cls, key) for s in (trained, now)]
        if key == 'arch':
            pair = [_arch(cls, value) for value in pair]
        if all(value in (None, [], {}, _UNSET) for value in pair):
            continue
        if isinstance(pair[0], dict) != isinstance(pair[1], dict):
            # None or a default beside a dict of settings.
            pair = [value if isinstance(value, dict) else {} for value in pair]
        yield from _compare(*pair, f'{path}.{key}')


def _unwrapped(settings: dict) -> dict:
    """A CosubBackbone *is* the backbone that it builds."""
    while _kind(settings) == 'CosubBackbone' and isinstance(settings.get('backbone'), dict):
        settings = settings['backbone']
    return settings


def _kind(settings: dict) -> str:
    """The type without its library; SyncBN computes what BN does."""
    kind = settings.get('type')
    name = str(getattr(kind, '__name__', kind or '')).rpartition('.')[2]
    return {'SyncBN': 'BN', 'BN2d': 'BN'}.get(name, name)


def _plain(value: object) -> object:
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items() if key not in _TRAINING}
    return value


def _class_of(settings: dict) -> type | None:
    kind = settings.get('type')
    if not isinstance(kind, str):
        return kind if isinstance(kind, type) else None
    for name in (kind, f'mmpretrain.{kind}', f'mmseg.{kind}'):
        try:
            found = MODELS.get(name)
        except (KeyError, ImportError):
            continue
        if isinstance(found, type):
            return found
    return None


def _default(cls: type | None, key: str) -> object:
    """The default of a setting, from the first class of the hierarchy that names it."""
    for base in cls.__mro__ if cls else ():
        parameter = inspect.signature(base.__init__).parameters.get(key)
        if parameter is not None and '__init__' in vars(base):
            return _UNSET if parameter.default is parameter.empty else parameter.default
    return _UNSET


def _arch(cls: type | None, value: object) -> object:
    """The sizes that the name of an architecture stands for."""
    if not isinstance(value, str):
        return value
    name = getattr(cls, 'arch_names', {}).get(value.lower(), value.lower())
    return getattr(cls, 'arch_zoo', {}).get(name, value)
