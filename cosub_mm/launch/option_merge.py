"""``--cfg-options``: overrides that are checked before they are merged into a config."""

import inspect
from collections.abc import Mapping, Sequence
from difflib import get_close_matches

from mmengine.config import Config, ConfigDict
from mmengine.runner import Runner

__all__ = ['check_options', 'merge_options']

# Top-level keys that tools and mmengine read but Runner's signature does not name.
_OTHER_KEYS = (
    'accept',
    'activation_checkpointing',
    'compile',
    'custom_imports',
    'efficient_conv_bn_eval',
    'find_unused_parameters',
    'model_wrapper_cfg',
    'schedule_of_other_length',
    'parameters_without_gradient',
    'sync_bn',
    'tta_model',
    'tta_pipeline',
    'tta_flip',
    'tta_ratios',
)


def merge_options(cfg: Config, options: dict) -> None:
    """Check overrides and merge them into a config.

    mmengine's own merge fails on an element of a list that is a number or a text, such as
    ``optim_wrapper.optimizer.betas.1``, and on every element of a tuple; those are set here.

    Args:
        cfg: changed in place.
        options: ``{'a.b.c': value}``.

    Raises:
        ValueError: as :func:`check_options`.
    """
    check_options(cfg, options)
    for path, value in options.items():
        parts = path.split('.')
        if _first_list(cfg, parts) is None:
            cfg.merge_from_dict({path: value})
        else:
            cfg[parts[0]] = _replaced(cfg[parts[0]], parts[1:], value)


def check_options(cfg: Config, options: dict) -> None:
    """Refuse overrides whose path looks misspelt.

    mmengine creates what a path names, so ``optim_wrapper.optimiser.lr=1`` changes nothing. New
    keys stay possible: only unknown top-level names, near misses within a path and elements that a
    list does not have are refused. A wrong last name reaches the constructor, which reports it.

    Args:
        cfg: the config before merging.
        options: ``{'a.b.c': value}``.

    Raises:
        ValueError: naming the part that is unknown and what it resembles.
    """
    top_level = {*inspect.signature(Runner.__init__).parameters, *_OTHER_KEYS, *cfg.keys()}
    for path in options:
        parts = path.split('.')
        if parts[0] not in top_level:
            raise ValueError(_unknown(path, parts[0], sorted(top_level), 'the config'))
        node = cfg._cfg_dict
        for depth, part in enumerate(parts):
            where, last = '.'.join(parts[:depth]), depth == len(parts) - 1
            if _is_list(node):
                if part not in map(str, range(len(node))):
                    elements = f'a list of {len(node)} (from 0 on)'
                    raise ValueError(_unknown(path, part, [], f'{where}, {elements}'))
                node = node[int(part)]
            elif not isinstance(node, Mapping):
                raise ValueError(_unknown(path, part, [], f'{where}, which is {node!r}'))
            elif part in node:
                node = node[part]
            elif not last and get_close_matches(part, list(node), cutoff=0.8):
                raise ValueError(_unknown(path, part, list(node), where))
            else:
                break


def _unknown(path: str, part: str, known: list[str], where: str) -> str:
    near = get_close_matches(part, known, n=3, cutoff=0.6)
    hint = f' Did you mean {" or ".join(near)}?' if near else ''
    return f"--cfg-options {path}: there is no '{part}' in {where}.{hint}"


def _is_list(node: object) -> bool:
    return isinstance(node, Sequence) and not isinstance(node, str)


def _first_list(cfg: Config, parts: list[str]) -> int | None:
    """How many parts lead to the first list on a path that goes on into it."""
    node = cfg._cfg_dict
    for depth, part in enumerate(parts):
        if _is_list(node):
            return depth
        if part not in node:
            return None
        node = node[part]
    return None


def _replaced(node: object, parts: list[str], value: object) -> object:
    """A copy of ``node`` with ``value`` at the end of the path."""
    if not parts:
        if not (isinstance(node, Mapping) and isinstance(value, Mapping)):
            return value
        merged = Config(dict(node=node))
        merged.merge_from_dict(dict(node=value))
        return merged.node
    part, *rest = parts
    if _is_list(node):
        items = list(node)
        items[int(part)] = _replaced(items[int(part)], rest, value)
        return type(node)(items)
    return ConfigDict({**node, part: _replaced(node.get(part, {}), rest, value)})
