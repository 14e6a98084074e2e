"""What a config says of the wrapper reaches it, also where a CPU needs other arguments."""

import pytest
import torch
from mmengine.registry import MODELS

from tests.engine.toy import ToyModel, built, config


@MODELS.register_module(force=True)
class ForgetsTheNorm(ToyModel):
    def forward(self, x, mode='loss'):
        y = self.layer(x)
        return dict(loss=y.square().mean()) if mode == 'loss' else [y]


@pytest.fixture
def process_group(monkeypatch):
    monkeypatch.setattr('torch.cuda.is_available', lambda: False)
    monkeypatch.setenv('LOCAL_RANK', '0')
    monkeypatch.setenv('MKL_NUM_THREADS', '1')  # mmengine warns, and sets it for good
    torch.distributed.init_process_group(
        'gloo', store=torch.distributed.HashStore(), rank=0, world_size=1
    )
    yield
    torch.distributed.destroy_process_group()


UNUSED = [
    ({}, False),
    (dict(find_unused_parameters=True), True),
    (dict(model_wrapper_cfg=dict(find_unused_parameters=True)), True),
    (dict(model_wrapper_cfg=dict(broadcast_buffers=False)), False),
]


@pytest.mark.parametrize(('settings', 'trains'), UNUSED)
def test_parameters_that_a_config_calls_unused(process_group, tmp_path, settings, trains):
    """Only with the config's word does a model train whose norm gets no gradient."""
    cfg = config(tmp_path, model=dict(type='ForgetsTheNorm'), launcher='pytorch', **settings)
    runner = built(cfg)
    batch = dict(x=torch.ones(2, 3))
    runner.model.train_step(batch, runner.optim_wrapper)
    if trains:
        runner.model.train_step(batch, runner.optim_wrapper)
    else:
        with pytest.raises(RuntimeError, match='finished reduction'):
            runner.model.train_step(batch, runner.optim_wrapper)
