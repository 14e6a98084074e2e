"""What splits a model or an optimizer is refused by name, before anything is built."""

from contextlib import nullcontext

import pytest
from mmengine.config import Config

from cosub_mm.checks.strategies import check_strategy
from cosub_mm.engine.amp import set_amp
from tools import train

FSDP = dict(type='mmengine.MMFullyShardedDataParallel', use_orig_params=True)
FSDP2 = dict(model_wrapper_cfg=dict(type='mmengine.CosubFSDP2'))


def zero(kind: str) -> dict:
    return dict(optimizer=dict(type='ZeroRedundancyOptimizer', optimizer_type=kind, lr=1e-3))


def optimizer(kind: str, **wrapper) -> dict:
    return dict(optim_wrapper=dict(optimizer=dict(type=kind), **wrapper))


REFUSED = [
    (dict(runner_type='FlexibleRunner'), 'runner_type=FlexibleRunner: '),
    (dict(runner_type='mmengine.FlexibleRunner', strategy=None), 'FlexibleRunner and its'),
    (dict(strategy=dict(type='DeepSpeedStrategy')), 'strategy=DeepSpeedStrategy: mmengine'),
    (dict(strategy='ColossalAIStrategy'), 'strategy=ColossalAIStrategy: '),
    (dict(model_wrapper_cfg=FSDP), r'MMFullyShardedDataParallel: .*trust ratios.*fsdp2\.py'),
    (
        dict(model_wrapper_cfg=dict(type='FullyShardedDataParallel')),
        'instead of those of the whole',
    ),
    (
        dict(model_wrapper_cfg=dict(type='MMSeparateDistributedDataParallel')),
        'these tools train by',
    ),
    (dict(optim_wrapper=dict(type='DeepSpeedOptimWrapper')), 'DeepSpeedOptimWrapper works in'),
    (dict(optim_wrapper=zero('LBFGS')), 'LBFGS in ZeRO-1: .*right are SGD, Adam, AdamW, CosubLamb'),
    (dict(optimizer('LBFGS'), shard_optimizer=True), 'LBFGS in ZeRO-1'),
    (dict(optimizer('AdamW'), shard_optimizer=True, **FSDP2), 'ZeRO-1 .* beside FSDP2'),
    (dict(optim_wrapper=zero('AdamW'), **FSDP2), 'ZeRO-1 .* beside FSDP2'),
    (dict(optimizer('Lamb'), **FSDP2), r'type=Lamb under FSDP2.*CosubLamb \(the same steps'),
    (dict(optimizer('AdamW', type='AmpOptimWrapper'), **FSDP2), '--amp bf16'),
    (dict(optimizer('AdamW'), compile=True, **FSDP2), 'compile under FSDP2'),
]


@pytest.mark.parametrize(('settings', 'said'), REFUSED)
def test_what_splits_tensors_is_refused(settings, said):
    with pytest.raises(ValueError, match=said):
        check_strategy(Config(settings))


@pytest.mark.parametrize(
    'settings',
    [
        {},
        dict(model_wrapper_cfg=dict(find_unused_parameters=True)),
        dict(model_wrapper_cfg=dict(type='MMDistributedDataParallel')),
        dict(runner_type='mmengine.CosubRunner', optim_wrapper=dict(type='AmpOptimWrapper')),
        dict(optim_wrapper=zero('AdamW')),
        dict(optimizer('Lamb'), shard_optimizer=True),
        dict(optimizer('mmengine.CosubLamb', type='Bf16OptimWrapper'), **FSDP2),
    ],
)
def test_what_is_right_is_not(settings):
    check_strategy(Config(settings))


@pytest.mark.parametrize(
    ('settings', 'options', 'said'),
    [
        (dict(runner_type='FlexibleRunner'), [], 'runner_type=Flex'),
        (dict(optimizer('AdamW'), **FSDP2), ['--compile'], 'compile under FSDP2'),
        (dict(optimizer('AdamW'), **FSDP2), ['--amp', 'fp16'], '--amp fp16 under FSDP2'),
    ],
)
def test_the_tool_says_so_in_one_line(tmp_path, capfd, settings, options, said):
    config = tmp_path / 'spread.py'
    lines = dict(default_scope='mmpretrain', train_cfg=dict(max_epochs=1), **settings)
    lines['train_dataloader'] = dict(batch_size=1)
    config.write_text(''.join(f'{key} = {value!r}\n' for key, value in lines.items()))
    assert train.main([str(config), '--work-dir', str(tmp_path / 'run'), *options]) == 2
    assert f'error: while reading the config: {said}' in capfd.readouterr().err


@pytest.mark.parametrize('wrapper', ['mmengine.CosubFSDP2', 'MMDistributedDataParallel'])
def test_mixed_precision_of_a_model_in_parts(monkeypatch, wrapper):
    """--amp takes bf16 there, also on a GPU, and fp16 is refused."""
    monkeypatch.setattr('torch.cuda.is_available', lambda: True)
    cfg = dict(optim_wrapper={}, model_wrapper_cfg=dict(type=wrapper))
    in_parts = 'FSDP2' in wrapper
    assert set_amp(Config(cfg), 'auto') == ('bf16' if in_parts else 'fp16')
    with pytest.raises(ValueError, match='use --amp bf16') if in_parts else nullcontext():
        set_amp(Config(cfg), 'fp16')
