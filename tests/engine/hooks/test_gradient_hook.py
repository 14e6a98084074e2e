"""A training whose parts do not all learn stops at its first backward pass."""

from types import SimpleNamespace

import pytest
import torch
from mmengine.hooks import Hook
from mmengine.model import BaseModel, MMDistributedDataParallel
from mmengine.optim import OptimWrapper
from mmengine.runner import Runner
from torch import nn

from cosub_mm.engine.hooks import GradientHook, NotTrainedError
from cosub_mm.engine.runner import CosubRunner
from cosub_mm.launch.config import add_training_hooks


class Net(BaseModel):
    def __init__(self, forgets: str = '') -> None:
        super().__init__()
        self.backbone = nn.ModuleDict(dict(stem=nn.Linear(4, 4), last=nn.Linear(4, 4)))
        self.token = nn.Parameter(torch.ones(4))
        self.head = nn.Linear(4, 2)
        self.forgets = forgets

    def forward(self, inputs, mode='tensor'):
        x = self.backbone['stem'](inputs)
        x = x.detach() if self.forgets == 'stem' else x
        x = x if self.forgets == 'last' else self.backbone['last'](x)
        x = x if self.forgets == 'token' else x + self.token
        return dict(loss=self.head(x).square().mean())


class Replace(Hook):
    """Puts a new module into the model after the optimizer was made."""

    priority = 'HIGHEST'

    def before_run(self, runner) -> None:
        runner.model.head = nn.Linear(4, 2)


def train(tmp_path, model, hooks=(), kind=CosubRunner, optim=None, **cfg) -> Runner:
    settings = ConfigLike(custom_hooks=[])
    add_training_hooks(settings)
    runner = kind(
        model=model,
        work_dir=str(tmp_path),
        train_dataloader=dict(
            batch_size=2,
            dataset=[dict(inputs=torch.randn(4)) for _ in range(6)],
            sampler=dict(type='DefaultSampler', shuffle=False),
            collate_fn=dict(type='default_collate'),
        ),
        train_cfg=dict(by_epoch=True, max_epochs=1),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.1), **(optim or {})),
        default_hooks=dict(checkpoint=None),
        custom_hooks=[*settings.custom_hooks, *hooks],
        experiment_name=tmp_path.name,
        cfg=cfg,
    )
    runner.train()
    return runner


class ConfigLike(dict):
    __getattr__, __setattr__ = dict.__getitem__, dict.__setitem__


@pytest.mark.parametrize(
    'optim',
    [dict(), dict(accumulative_counts=2), dict(type='Bf16OptimWrapper')],
    ids=['plain', 'accumulation', 'bf16'],
)
def test_a_model_that_learns_goes_on(optim, tmp_path):
    model = Net()
    model.backbone['stem'].requires_grad_(False)  # frozen by the user
    assert train(tmp_path, model, optim=optim).iter == 3


@pytest.mark.parametrize(
    ('forgets', 'optim', 'told'),
    [
        ('stem', dict(), r'2 parameters \(backbone.stem.weight, backbone.stem.bias\).*detach'),
        ('last', dict(accumulative_counts=2), r'backbone.last.weight'),
        ('token', dict(type='Bf16OptimWrapper'), r"1 parameter \(token\).*= \['token'\]"),
    ],
)
def test_a_part_without_gradient_stops_the_run(forgets, optim, told, tmp_path):
    with pytest.raises(NotTrainedError, match=told):
        train(tmp_path, Net(forgets), optim=optim)


def test_mmengines_own_checkpointing_is_caught(tmp_path):
    with pytest.raises(NotTrainedError, match=r'backbone.stem.weight.*runner_type'):
        train(tmp_path, Net(), kind=Runner, activation_checkpointing=['backbone.stem'])


def test_parts_that_are_meant_to_have_none_are_listed(tmp_path):
    train(tmp_path / 'part', Net('last'), parameters_without_gradient=['backbone.last'])
    train(tmp_path / 'one', Net('token'), parameters_without_gradient=['token'])
    train(tmp_path / 'star', Net('last'), parameters_without_gradient=['*.last.*'])
    with pytest.raises(NotTrainedError, match=r"lists 'backbone.la', which is no parameter"):
        train(tmp_path / 'typo', Net('last'), parameters_without_gradient=['backbone.la'])


def test_a_parameter_that_no_optimizer_holds_stops_the_run(tmp_path):
    with pytest.raises(
        NotTrainedError, match=r'2 parameters \(head.weight, head.bias\).*held by no'
    ):
        train(tmp_path, Net(), hooks=[Replace()])


def test_no_list_of_hooks_loses_it():
    cfg = ConfigLike(custom_hooks=[dict(type='Mine')])
    add_training_hooks(cfg)
    assert dict(type='mmengine.GradientHook') in cfg.custom_hooks


@pytest.fixture
def process_group():
    torch.distributed.init_process_group(
        'gloo', store=torch.distributed.HashStore(), rank=0, world_size=1
    )
    yield
    torch.distributed.destroy_process_group()


@pytest.mark.parametrize('unused', [False, True], ids=['', 'find_unused_parameters'])
def test_distributed_models_are_checked_alike(unused, process_group):
    for forgets in ('', 'last'):
        model = MMDistributedDataParallel(Net(forgets), find_unused_parameters=unused)
        optimizer = OptimWrapper(torch.optim.SGD(model.parameters(), lr=0.1))
        runner = SimpleNamespace(model=model, optim_wrapper=optimizer, cfg={}, logger=None)
        hook = GradientHook()
        hook.before_train(runner)
        model(torch.randn(2, 4))['loss'].backward()
        if not forgets:
            hook.after_train_iter(runner, 0)
            continue
        with pytest.raises(NotTrainedError, match=r'\(backbone.last.weight, backbone.last.bias\)'):
            hook.after_train_iter(runner, 0)
