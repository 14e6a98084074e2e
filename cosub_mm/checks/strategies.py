"""Ways of splitting a training that these tools would follow wrongly, refused by name."""

from mmengine.config import Config

__all__ = ['check_strategy']

_INSTEAD = (
    'Train by DistributedDataParallel (leave model_wrapper_cfg, runner_type and strategy out); '
    "where memory is short, with activation_checkpointing=['backbone.layers'] or "
    'optim_wrapper.accumulative_counts.'
)
_WRAPPERS = ('MMDistributedDataParallel', 'DistributedDataParallel')
_STRATEGIES = ('DeepSpeed', 'ColossalAI')


def check_strategy(cfg: Config) -> None:
    """Refuse runners, wrappers and optimizers that split a model or an optimizer's state.

    Args:
        cfg: reads ``runner_type``, ``strategy``, ``model_wrapper_cfg`` and ``optim_wrapper``.

    Raises:
        ValueError: naming the setting, what would go wrong and what to do instead.
    """
    strategy = _name(cfg.get('strategy'))
    if strategy or str(cfg.get('runner_type')).endswith('FlexibleRunner'):
        named = f'strategy={strategy}' if strategy else f'runner_type={cfg.runner_type}'
        raise ValueError(
            f"{named}: mmengine's FlexibleRunner and its strategies (DeepSpeed, ColossalAI, FSDP) "
            f'build model and optimizer only once the training runs, so that nothing of these '
            f"tools' checks, hooks and checkpoints holds there. {_INSTEAD}"
        )
    wrapper = _name(cfg.get('model_wrapper_cfg'))
    if 'FullyShardedDataParallel' in wrapper:
        raise ValueError(
            f'model_wrapper_cfg.type={wrapper}: FSDP joins parameters into flat shards, so that '
            f"LAMB's trust ratios and the clipping of gradients would be those of a shard instead "
            f'of those of the whole tensors. {_INSTEAD}'
        )
    if wrapper and wrapper not in _WRAPPERS:
        raise ValueError(
            f'model_wrapper_cfg.type={wrapper}: these tools train by {" or ".join(_WRAPPERS)}. '
            f'{_INSTEAD}'
        )
    for kind in _optimizers(cfg):
        if kind.startswith(_STRATEGIES):
            raise ValueError(
                f'optim_wrapper.type={kind} works in a FlexibleRunner only. {_INSTEAD}'
            )
        if kind == 'ZeroRedundancyOptimizer':
            raise ValueError(
                f'optim_wrapper.optimizer.type={kind} (ZeRO-1): LAMB inside it would clip by the '
                f"norm of one process's share, and a checkpoint, which the first process writes "
                f'alone, would wait for ever for the shares of the others. {_INSTEAD}'
            )


def _name(setting: object) -> str:
    kind = setting.get('type', '') if isinstance(setting, dict) else setting or ''
    kind = kind if isinstance(kind, str) else getattr(kind, '__name__', type(kind).__name__)
    return kind.rpartition('.')[2]


def _optimizers(cfg: Config) -> list[str]:
    wrapper = cfg.get('optim_wrapper') or {}
    return [_name(wrapper), _name(wrapper.get('optimizer'))]
