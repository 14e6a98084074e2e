"""What splits a model or an optimizer is refused by name, before anything is built."""

import pytest
from mmengine.config import Config

from cosub_mm.checks.strategies import check_strategy
from tools import train

FSDP = dict(type='mmengine.MMFullyShardedDataParallel', use_orig_params=True)
ZERO = dict(optimizer=dict(type='ZeroRedundancyOptimizer', optimizer_type='AdamW', lr=1e-3))
REFUSED = [
    (dict(runner_type='FlexibleRunner'), 'runner_type=FlexibleRunner: '),
    (dict(runner_type='mmengine.FlexibleRunner', strategy=None), 'FlexibleRunner and its'),
    (dict(strategy=dict(type='DeepSpeedStrategy')), 'strategy=DeepSpeedStrategy: mmengine'),
    (dict(strategy='ColossalAIStrategy'), 'strategy=ColossalAIStrategy: '),
    (dict(model_wrapper_cfg=FSDP), 'MMFullyShardedDataParallel: .*trust ratios'),
    (
        dict(model_wrapper_cfg=dict(type='FullyShardedDataParallel')),
        'instead of those of the whole',
    ),
    (
        dict(model_wrapper_cfg=dict(type='MMSeparateDistributedDataParallel')),
        'these tools train by',
    ),
    (dict(optim_wrapper=ZERO), r'ZeroRedundancyOptimizer \(ZeRO-1\): LAMB'),
    (dict(optim_wrapper=dict(type='DeepSpeedOptimWrapper')), 'DeepSpeedOptimWrapper works in'),
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
    ],
)
def test_data_parallel_training_is_not(settings):
    check_strategy(Config(settings))


def test_the_tool_says_so_in_one_line(tmp_path, capfd):
    config = tmp_path / 'flexible.py'
    config.write_text("default_scope = 'mmpretrain'\nrunner_type = 'FlexibleRunner'\n")
    assert train.main([str(config), '--work-dir', str(tmp_path / 'run')]) == 2
    assert 'error: while reading the config: runner_type=Flex' in capfd.readouterr().err
