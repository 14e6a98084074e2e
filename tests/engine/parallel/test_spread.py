"""DDP, ZeRO-1 and FSDP2 train as one process does, and leave its checkpoints.

Two gloo processes are started once for each way, train twice by LAMB (undisturbed, and resumed
from the middle) and once by AdamW, and write what they find; the tests read it.
"""

import multiprocessing
import os
import re
import traceback
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS
from torch import distributed as dist

from cosub_mm.engine.hooks import NotTrainedError
from cosub_mm.engine.runner import CosubRunner
from cosub_mm.launch.isolation import own_instances

from .toy_cosub import SharesClassifier, config

ROOT = Path(__file__).parents[3]
WAYS = ('ddp', 'zero1', 'fsdp2')
# Both clip: the norm of the gradients is above that, and it is that of all of them.
CLIP = 0.05
LAMB = dict(
    optimizer=dict(type='CosubLamb', lr=0.05, weight_decay=0.1, max_grad_norm=CLIP),
    paramwise_cfg=dict(norm_decay_mult=0.0, bias_decay_mult=0.0),
)
ADAMW = dict(
    optimizer=dict(type='AdamW', lr=0.01, weight_decay=0.1),
    clip_grad=dict(max_norm=CLIP),
    accumulative_counts=2,
)
ONE_EPOCH = dict(by_epoch=True, max_epochs=1)


@MODELS.register_module(force=True)
class WithUnused(SharesClassifier):
    def __init__(self, **settings) -> None:
        super().__init__(**settings)
        self.unused = torch.nn.Linear(2, 2).double()


@MODELS.register_module(force=True)
class WithCopy(SharesClassifier):
    own_hooks = (dict(type='mmengine.MeanTeacherHook'),)


def trained(folder: Path, processes: int, optim_wrapper: dict, **changes) -> CosubRunner:
    cfg = config(folder, processes, optim_wrapper, **changes)
    cfg.model.infinite = 'clip_grad' in optim_wrapper
    with own_instances():
        runner = CosubRunner.from_cfg(cfg)
        runner.train()
    return runner


def held(runner: CosubRunner) -> dict:
    """How many values this process holds of the model's and of the optimizer's states."""

    def size(tensors) -> int:
        return sum(getattr(t, 'to_local', lambda t=t: t)().numel() for t in tensors)

    optimizer = runner.optim_wrapper.optimizer
    optimizer = getattr(optimizer, 'optim', optimizer)
    moments = [state['exp_avg'] for state in optimizer.state.values()]
    return dict(model=size(runner.model.parameters()), moments=size(moments))


def job(folder: Path, rank: int, way: str) -> None:
    os.environ.update(LOCAL_RANK=str(rank), RANK=str(rank), WORLD_SIZE='2', MKL_NUM_THREADS='1')
    store = dist.FileStore(str(folder / 'store'), 2)
    dist.init_process_group('gloo', store=store, rank=rank, world_size=2)
    fragment = Config.fromfile(ROOT / f'configs/_base_/parallel/{way}.py').to_dict()
    try:
        found = dict(way=way, **held(trained(folder / 'lamb', 2, LAMB, **fragment)))
        middle = str(folder / 'lamb/epoch_1.pth')
        trained(folder / 'resumed', 2, LAMB, resume=True, load_from=middle, **fragment)
        trained(folder / 'adamw', 2, ADAMW, train_cfg=ONE_EPOCH, **fragment)
        cfg = config(folder / 'unused', 2, ADAMW, train_cfg=ONE_EPOCH, **fragment)
        cfg.model.type = 'WithUnused'
        with own_instances():
            try:
                CosubRunner.from_cfg(cfg).train()
            except (NotTrainedError, RuntimeError) as error:  # DDP's own is one of these
                found['unused'] = str(error)
        if way == 'fsdp2':
            cfg.model.type = 'WithCopy'
            with own_instances(), pytest.raises(ValueError, match='MeanTeacherHook'):
                CosubRunner.from_cfg(cfg).train()
        torch.save(found, folder / f'found_{rank}.pt')
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    dist.barrier()
    os._exit(0)  # gloo's threads may abort a forked process that tears them down


@pytest.fixture(scope='module')
def alone(tmp_path_factory) -> Path:
    """Trained by one process, on the batches of both."""
    folder = tmp_path_factory.mktemp('alone')
    trained(folder / 'lamb', 1, LAMB)
    trained(folder / 'adamw', 1, ADAMW, train_cfg=ONE_EPOCH)
    return folder


@pytest.fixture(scope='module', params=WAYS)
def together(request, tmp_path_factory, alone) -> Path:
    """Trained by two; a single process has imported all that they need before they fork."""
    folder = tmp_path_factory.mktemp(request.param)
    fork = multiprocessing.get_context('fork')
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr('torch.cuda.is_available', lambda: False)
        jobs = [fork.Process(target=job, args=(folder, rank, request.param)) for rank in (0, 1)]
        for process in jobs:
            process.start()
        for process in jobs:
            process.join(300)
            process.kill()
    assert [process.exitcode for process in jobs] == [0, 0]
    return folder


def checkpoint(path: Path) -> dict:
    return torch.load(path, weights_only=False)


def leaves(value: object, path: str = '') -> dict:
    """Tensors, numbers and texts by where they stand."""
    if isinstance(value, dict | list | tuple):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        return {k: v for key, one in items for k, v in leaves(one, f'{path}.{key}').items()}
    return {path: value}


def states(path: Path) -> dict:
    names = ('state_dict', 'ema_state_dict', 'optimizer', 'param_schedulers')
    return {name: checkpoint(path)[name] for name in names}


def assert_same(found: dict, expected: dict, rtol: float = 1e-9, atol: float = 1e-12) -> None:
    found, expected = leaves(found), leaves(expected)
    assert found.keys() == expected.keys()
    for path, value in expected.items():
        assert type(found[path]) is type(value), path
        if torch.is_tensor(value):
            torch.testing.assert_close(found[path], value, rtol=rtol, atol=atol, msg=path)
        else:
            assert found[path] == value, path


def scalars(path: Path, name: str) -> list:
    return list(checkpoint(path)['message_hub']['log_scalars'][name].data[0])


def infinite_step(folder: Path) -> str:
    """What the log says of the step that was left out, up to the losses of the processes."""
    (log,) = folder.rglob('*.log')
    return re.search(r'Iteration 2 is left out, .* gradients is [\d.]+,', log.read_text())[0]


@pytest.mark.parametrize('name', ['lamb/epoch_1.pth', 'lamb/epoch_2.pth', 'adamw/epoch_1.pth'])
def test_checkpoints_are_those_of_one_process(alone, together, name):
    """Weights, averages, moments, counts and settings under the same names, whole and plain."""
    expected, found = states(alone / name), states(together / name)
    assert list(found['state_dict']) == list(expected['state_dict'])
    assert_same(found, expected)


def test_the_training_was_worth_comparing(alone):
    """Weights move, gradients are clipped, and one step of three is left out."""
    first, last = (states(alone / f'lamb/epoch_{epoch}.pth')['state_dict'] for epoch in (1, 2))
    assert all(not torch.equal(first[name], last[name]) for name in first if 'pos' not in name)
    assert min(scalars(alone / 'adamw/epoch_1.pth', 'train/grad_norm')) > CLIP
    assert states(alone / 'lamb/epoch_2.pth')['optimizer']['param_groups'][0]['step'] == 4


def test_what_is_logged(alone, together):
    """The norm of all gradients, and the score of a validation by averaged weights."""
    for path, name in (('adamw/epoch_1.pth', 'train/grad_norm'), ('lamb/epoch_2.pth', 'val/sure')):
        expected, found = scalars(alone / path, name), scalars(together / path, name)
        assert found == pytest.approx(expected, rel=1e-9)
    assert infinite_step(together / 'adamw') == infinite_step(alone / 'adamw')


def test_the_best_is_saved_as_by_one_process(alone, together):
    paths = [sorted((folder / 'lamb').glob('*.pth')) for folder in (alone, together)]
    assert [path.name for path in paths[0]] == [path.name for path in paths[1]]
    (best,) = [path.name for path in paths[0] if path.name.startswith('best')]
    expected, found = (checkpoint(folder / 'lamb' / best) for folder in (alone, together))
    assert_same(found['state_dict'], expected['state_dict'])


def test_resumed_is_undisturbed(together):
    once, resumed = (states(together / f'{run}/epoch_2.pth') for run in ('lamb', 'resumed'))
    assert_same(resumed, once, rtol=0, atol=0)


def test_one_process_goes_on_where_two_stopped(alone, together, tmp_path):
    middle = str(together / 'lamb/epoch_1.pth')
    trained(tmp_path, 1, LAMB, resume=True, load_from=middle)
    assert_same(states(tmp_path / 'epoch_2.pth'), states(alone / 'lamb/epoch_2.pth'))


def test_each_process_keeps_its_share(together):
    """What the way promises to save is saved."""
    weights = states(together / 'lamb/epoch_1.pth')['state_dict']
    total = sum(value.numel() for value in weights.values())
    found = [torch.load(together / f'found_{rank}.pt') for rank in (0, 1)]
    share = dict(model=[total, total], moments=[total, total])
    in_parts = dict(ddp=[], zero1=['moments'], fsdp2=['model', 'moments'])
    for key in in_parts[found[0]['way']]:
        assert sum(one[key] for one in found) == total
        assert max(one[key] for one in found) < 0.6 * total
        del share[key]
    assert all([one[key] for one in found] == both for key, both in share.items())


def test_a_parameter_without_gradient_is_named(together):
    for rank in (0, 1):
        assert 'unused' in torch.load(together / f'found_{rank}.pt')['unused']
