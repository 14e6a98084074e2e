"""No checkpoint runs code: each file here would leave a mark if its code ran."""

import shutil

import numpy as np
import pytest
import torch
from mmengine.config import ConfigDict
from mmengine.logging import HistoryBuffer
from mmengine.model import BaseModule
from mmengine.runner import load_checkpoint as mmengine_load
from mmengine.runner.checkpoint import CheckpointLoader
from torch import nn

import cosub_mm  # noqa: F401
from cosub_mm.engine.checkpoints import UntrustedCheckpoint, load_checkpoint, trusting


class Marks:
    """Writes a file when it is unpickled."""

    def __init__(self, mark):
        self.mark = str(mark)

    def __reduce__(self):
        return open, (self.mark, 'w')


@pytest.fixture
def mark(tmp_path):
    return tmp_path / 'code_has_run'


def program(mark):
    return f'import pathlib\npathlib.Path({str(mark)!r}).touch()\nmodel = dict()\n'


def evil(mark, kind):
    state = nn.Linear(2, 2).state_dict()
    return {
        'in meta': dict(state_dict=state, meta=dict(extra=Marks(mark))),
        'in the weights': dict(state_dict=dict(state, extra=Marks(mark))),
        'bare': dict(state, extra=Marks(mark)),
        'config': dict(state_dict=state, meta=dict(cfg=program(mark))),
        'old config': dict(state_dict=state, meta=dict(config=program(mark))),
        'hub': dict(state_dict=state, message_hub=dict(runtime_info=dict(cfg=program(mark)))),
        # No Python, until mmengine has filled in the variable.
        'template': dict(
            state_dict=state, meta=dict(cfg=f'a = {{{{$X:open({str(mark)!r},"w")}}}}')
        ),
        'renamed': dict(state_dict=state, meta=dict(cfg="list = eval\na = list('1 + 1')")),
    }[kind]


KINDS = ['in meta', 'in the weights', 'bare', 'config', 'old config', 'hub', 'template', 'renamed']


@pytest.mark.parametrize('legacy', [False, True], ids=['zip', 'legacy'])
@pytest.mark.parametrize('kind', KINDS)
def test_no_code_of_a_file_runs(tmp_path, mark, kind, legacy):
    path = str(tmp_path / 'evil.pth')
    torch.save(evil(mark, kind), path, _use_new_zipfile_serialization=not legacy)
    for load in (
        load_checkpoint,
        lambda name: load_checkpoint(name, peek=True),
        CheckpointLoader.load_checkpoint,
        lambda name: mmengine_load(nn.Linear(2, 2), name),
    ):
        with pytest.raises(UntrustedCheckpoint) as error:
            load(path)
        assert path in str(error.value) and '--trust-checkpoint' in str(error.value)
        assert ('open' if Marks in map(type, evil(mark, kind).values()) else 'data') in str(
            error.value
        )
    assert not mark.exists()


def test_the_class_is_named_and_trust_is_for_a_while(tmp_path, mark, monkeypatch):
    path = str(tmp_path / 'evil.pth')
    torch.save(evil(mark, 'in meta'), path)
    with pytest.raises(UntrustedCheckpoint, match=r'more than data: (_?io|builtins)\.open'):
        load_checkpoint(path)
    with trusting(True):
        load_checkpoint(path)
    assert mark.exists()
    mark.unlink()
    with pytest.raises(UntrustedCheckpoint):
        load_checkpoint(path)
    assert not mark.exists()
    monkeypatch.setenv('COSUB_TRUST_CHECKPOINT', '1')
    CheckpointLoader.load_checkpoint(path)
    assert mark.exists()


def test_globals_cannot_be_reached_by_getattr(tmp_path):
    """mmengine's own allow-list has getattr itself."""

    class Reach:
        def __reduce__(self):
            return getattr, (HistoryBuffer, '__init__')

    torch.save(dict(state_dict={}, meta=Reach()), tmp_path / 'a.pth')
    with pytest.raises(UntrustedCheckpoint, match='__init__'):
        load_checkpoint(str(tmp_path / 'a.pth'))


def test_a_download_is_data_too(tmp_path, mark, monkeypatch):
    torch.save(evil(mark, 'in meta'), tmp_path / 'evil.pth')

    def download(url, target, *args, **kwargs):
        shutil.copy(tmp_path / 'evil.pth', target)

    monkeypatch.setenv('TORCH_HOME', str(tmp_path / 'hub'))
    monkeypatch.setattr('torch.hub.download_url_to_file', download)
    for address in ('https://example.org/evil.pth', 'torchvision://resnet18'):
        with pytest.raises(UntrustedCheckpoint, match='open'):
            load_checkpoint(address)
    assert not mark.exists()


def test_torchscript_is_refused(tmp_path):
    torch.jit.save(torch.jit.script(nn.Linear(2, 2)), str(tmp_path / 'script.pth'))
    with pytest.raises(UntrustedCheckpoint, match='TorchScript'):
        load_checkpoint(str(tmp_path / 'script.pth'))


def test_data_of_mmengine_loads(tmp_path):
    """What real checkpoints hold beside tensors; HistoryBuffer pickles its statistics."""
    history = HistoryBuffer([1.0, 2.0], [1, 1])
    hub = dict(log_scalars={'loss': history}, runtime_info=dict(best=np.float64(3), n=np.int64(2)))
    # A data set keeps nested parts of its config in metainfo.
    nested = ConfigDict(source=dict(years=[2012]))
    meta = dict(
        nested=nested,
        classes=('a',),
        palette=np.zeros((2, 3), np.uint8),
        names=np.array(['x', 'yy']),
    )
    optimizer = torch.optim.AdamW([nn.Parameter(torch.ones(2))])
    optimizer.param_groups[0]['params'][0].sum().backward()
    optimizer.step()
    state = dict(optimizer.state_dict(), loss_scaler=torch.amp.GradScaler('cpu').state_dict())
    content = dict(state_dict={}, message_hub=hub, meta=meta, optimizer=state)
    torch.save(content, tmp_path / 'a.pth')
    loaded = load_checkpoint(str(tmp_path / 'a.pth'))
    assert loaded['message_hub']['log_scalars']['loss'].mean() == 1.5
    assert loaded['message_hub']['runtime_info'] == hub['runtime_info']
    assert np.array_equal(loaded['meta']['palette'], meta['palette'])
    assert list(loaded['meta']['names']) == ['x', 'yy']
    assert loaded['meta']['nested'] == nested
    assert loaded['optimizer']['loss_scaler'] == state['loss_scaler']
    assert loaded['optimizer']['state'].keys() == {0}


class Part(BaseModule):
    def __init__(self, init_cfg=None):
        super().__init__(init_cfg)
        self.one = nn.Linear(2, 2)


@pytest.mark.parametrize('prefix', [None, 'body.'])
def test_init_cfg_of_somebody_elses_program(tmp_path, mark, prefix):
    """Also without our tools: mmengine loads it when the model is initialised."""
    torch.save({'body.one.weight': torch.zeros(2, 2), 'x': Marks(mark)}, tmp_path / 'evil.pth')
    init_cfg = dict(type='Pretrained', checkpoint=str(tmp_path / 'evil.pth'), prefix=prefix)
    with pytest.raises(UntrustedCheckpoint):
        Part(init_cfg).init_weights()
    assert not mark.exists()


def test_weights_of_timm(tmp_path, mark):
    from cosub_mm.models.backbones import CosubTIMMBackbone

    vit = dict(img_size=32, patch_size=16, embed_dim=16, depth=1, num_heads=2)
    name = 'deit3_small_patch16_224'
    source = CosubTIMMBackbone(name, **vit).timm_model.state_dict()
    average = {key: value + 1 for key, value in source.items()}
    path = str(tmp_path / 'timm.pth')
    head = {'head.weight': torch.zeros(5, 16), 'head.bias': torch.zeros(5)}
    torch.save(dict(state_dict=source | head, state_dict_ema=average | head), path)
    loaded = CosubTIMMBackbone(name, checkpoint_path=path, **vit).timm_model.state_dict()
    assert all(torch.equal(loaded[key], average[key]) for key in average)
    torch.save(dict(state_dict=source, extra=Marks(mark)), path)
    with pytest.raises(UntrustedCheckpoint):
        CosubTIMMBackbone(name, checkpoint_path=path, **vit)
    assert not mark.exists()
