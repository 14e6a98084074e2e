"""Ways of splitting a training that these tools would follow wrongly, refused by name."""

from mmengine.config import Config

__all__ = ['check_strategy']

_FRAGMENTS = 'configs/_base_/parallel/ (ddp.py, zero1.py, fsdp2.py; docs/many_gpus.md says which)'
_INSTEAD = (
    f'Take a file of {_FRAGMENTS}, and leave other values of model_wrapper_cfg, runner_type and '
    f"strategy out; memory is also saved by activation_checkpointing=['backbone.layers'] and "
    f'optim_wrapper.accumulative_counts.'
)
_DATA_PARALLEL = ('MMDistributedDataParallel', 'DistributedDataParallel')
_FSDP2 = 'CosubFSDP2'
_STRATEGIES = ('DeepSpeed', 'ColossalAI')
_ZERO = ('ZeroRedundancyOptimizer', 'CosubZeRO')
# They go value by value, or by norms of whole parameters and of all gradients that are seen to.
_OPTIMIZERS = ('SGD', 'Adam', 'AdamW', 'CosubLamb')


def check_strategy(cfg: Config) -> None:
    """Refuse runners, wrappers and optimizers that would split a training wrongly.

    Args:
        cfg: reads ``runner_type``, ``strategy``, ``model_wrapper_cfg``, ``shard_optimizer``,
            ``optim_wrapper`` and ``compile``.

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
    _check_wrapper(_name(cfg.get('model_wrapper_cfg')))
    wrapper = cfg.get('optim_wrapper') or {}
    kinds = _name(wrapper), _name(wrapper.get('optimizer'))
    for kind in kinds:
        if kind.startswith(_STRATEGIES):
            raise ValueError(
                f'optim_wrapper.type={kind} works in a FlexibleRunner only. {_INSTEAD}'
            )
    zero = bool(cfg.get('shard_optimizer')) or kinds[1] in _ZERO
    inside = wrapper['optimizer'].get('optimizer_type') if kinds[1] in _ZERO else kinds[1]
    if _name(cfg.get('model_wrapper_cfg')) == _FSDP2:
        _check_fsdp2(cfg, kinds[0], inside, zero)
    elif zero and inside and _name(inside) not in (*_OPTIMIZERS, 'Lamb'):
        raise ValueError(
            f'{inside} in ZeRO-1: each process would see the gradients of its share of the '
            f'parameters alone, and whether {inside} mixes parameters is not known. Known to be '
            f'right are {", ".join(_OPTIMIZERS)}; or train by configs/_base_/parallel/ddp.py.'
        )


def _check_wrapper(wrapper: str) -> None:
    if 'FullyShardedDataParallel' in wrapper:
        raise ValueError(
            f'model_wrapper_cfg.type={wrapper}: FSDP1 joins parameters into flat shards, so that '
            f"LAMB's trust ratios and the clipping of gradients would be those of a shard instead "
            f'of those of the whole tensors. FSDP2 keeps each parameter: '
            f'configs/_base_/parallel/fsdp2.py. {_INSTEAD}'
        )
    if wrapper and wrapper not in (*_DATA_PARALLEL, _FSDP2):
        raise ValueError(
            f'model_wrapper_cfg.type={wrapper}: these tools train by '
            f'{", ".join(_DATA_PARALLEL)} or {_FSDP2}. {_INSTEAD}'
        )


def _check_fsdp2(cfg: Config, wrapper: str, optimizer: object, zero: bool) -> None:
    """What has not been shown to be right with parameters in parts."""
    if zero:
        raise ValueError(
            'ZeRO-1 (shard_optimizer) beside FSDP2: the states of the optimizer are in parts '
            'already. Take either fsdp2.py or zero1.py of configs/_base_/parallel/.'
        )
    if optimizer and _name(optimizer) not in _OPTIMIZERS:
        same = ' (the same steps as Lamb)' if _name(optimizer) == 'Lamb' else ''
        raise ValueError(
            f'optim_wrapper.optimizer.type={_name(optimizer)} under FSDP2, whose parameters are '
            f'DTensors: not known to be right. Take {", ".join(_OPTIMIZERS)}{same}, or train by '
            f'zero1.py or ddp.py of configs/_base_/parallel/.'
        )
    if wrapper not in ('', 'OptimWrapper', 'Bf16OptimWrapper'):
        raise ValueError(
            f'optim_wrapper.type={wrapper} under FSDP2: a scaler of the loss (fp16) has not been '
            f'shown to find an overflow in the parts of other processes. Train with --amp bf16, '
            f'or by zero1.py or ddp.py of configs/_base_/parallel/.'
        )
    if cfg.get('compile'):
        raise ValueError(
            'compile under FSDP2: compiled parts that are put together for each pass have not been '
            'shown to compute the same. Leave `compile` out, or train by zero1.py or ddp.py of '
            'configs/_base_/parallel/.'
        )


def _name(setting: object) -> str:
    kind = setting.get('type', '') if isinstance(setting, dict) else setting or ''
    kind = kind if isinstance(kind, str) else getattr(kind, '__name__', type(kind).__name__)
    return kind.rpartition('.')[2]
