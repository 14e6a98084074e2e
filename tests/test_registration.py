"""Importing the package: what becomes known, and what is not loaded for it."""

import inspect
import subprocess
import sys
from importlib import import_module, reload
from types import ModuleType

import pytest
from mmengine.registry import Registry

from cosub_mm.after_import import after_import
from cosub_mm.installation import conflicts
from cosub_mm.registry import register_lazily
from tests import fresh

LOOK_UP = """
from mmpretrain.registry import HOOKS, MODELS, TRANSFORMS
from mmseg.registry import MODELS as SEG_MODELS
for name in ('CosubClassifier', 'CosubViT', 'CosubBackbone'):
    assert MODELS.get(name) is not None, name
    assert SEG_MODELS.get(f'mmpretrain.{name}') is MODELS.get(name), name
assert HOOKS.get('EfficientDropPathHook') is not None
assert TRANSFORMS.get('ThreeAugment') is not None
assert SEG_MODELS.get('CosubSegmentor') is not None
from mmengine import registry
assert registry.HOOKS.get('mmpretrain.EfficientDropPathHook') is HOOKS.get('EfficientDropPathHook')
assert registry.OPTIMIZERS.get('CosubLamb') is not None
import fractions, tempfile, torch
from mmengine.runner import CheckpointLoader
with tempfile.NamedTemporaryFile() as file:  # loaded as data, as everything is beside cosub_mm
    torch.save(fractions.Fraction(1, 2), file.name)
    try:
        CheckpointLoader.load_checkpoint(file.name)
    except Exception as error:
        assert type(error).__name__ == 'UntrustedCheckpoint', error
    else:
        raise AssertionError('its code could run')
"""


def run(code: str) -> subprocess.CompletedProcess:
    """In an interpreter that has loaded nothing of OpenMMLab or cosub_mm."""
    return succeeded(fresh.run(['-c', code]))


def run_alone(code: str) -> subprocess.CompletedProcess:
    """In an interpreter that has loaded nothing at all."""
    return succeeded(subprocess.run([sys.executable, '-c', code], capture_output=True, text=True))


def succeeded(result: subprocess.CompletedProcess) -> subprocess.CompletedProcess:
    assert result.returncode == 0, result.stderr[-2000:]
    return result


@pytest.mark.parametrize(
    'first',
    [
        'import cosub_mm',
        'import mmpretrain, cosub_mm',
        'import cosub_mm, mmengine.runner',
        'import cosub_mm.datasets',
        'import mmpretrain.models, mmseg.models, cosub_mm',
        # The registries have imported their own modules before ours is there.
        'from mmpretrain.registry import MODELS; MODELS.get("ResNet"); import cosub_mm',
    ],
)
def test_everything_is_registered_whatever_comes_first(first):
    run(first + LOOK_UP)


def test_importing_loads_no_models():
    """What keeps the import light; the models come at the first look into a registry."""
    run(
        'import sys, mmpretrain, cosub_mm\n'
        'heavy = [m for m in sys.modules if m.startswith(("mmpretrain.models", "mmseg.models",'
        ' "cosub_mm.models", "cosub_mm.datasets"))]\n'
        'assert not heavy, heavy'
    )


def test_importing_loads_no_registry():
    """Losses load torch alone, and the engine does without mmpretrain."""
    run_alone(
        'import sys, cosub_mm\n'
        'loaded = lambda *names: [n for n in names if n in sys.modules]\n'
        'assert not loaded("torch", "mmengine", "mmcv", "mmpretrain", "mmseg", "timm")\n'
        'import cosub_mm.losses, cosub_mm.stochastic_depth\n'
        'assert not loaded("mmengine", "mmcv", "mmpretrain", "mmseg", "timm")\n'
        'import cosub_mm.launch.errors\n'
        'assert not loaded("mmcv", "mmpretrain", "mmseg", "timm")\n'
    )


def test_a_broken_mmpretrain_is_said_once_and_losses_work(tmp_path):
    (tmp_path / 'mmpretrain').mkdir()
    (tmp_path / 'mmpretrain/__init__.py').write_text('raise ImportError("no wheel for this")')
    done = run(
        f'import sys; sys.path.insert(0, {str(tmp_path)!r})\n'
        'import cosub_mm.losses, cosub_mm.stochastic_depth\n'
        'for module in ("mmpretrain", "mmpretrain.registry", "mmpretrain"):\n'
        '    try:\n'
        '        __import__(module)\n'
        '    except ImportError as error:\n'
        '        assert "no wheel" in str(error)\n'
        'import cosub_mm.engine\n'
        'from mmengine.registry import HOOKS\n'
        'assert HOOKS.get("EfficientDropPathHook") is not None\n'
    )
    sentence = 'mmpretrain is installed and cannot be imported (ImportError: no wheel for this)'
    assert done.stderr.count(sentence) == 1


@pytest.mark.parametrize(
    ('error', 'said'), [('ImportError("no libGL")', 1), ('ModuleNotFoundError("blocked")', 0)]
)
def test_an_mmpretrain_that_a_finder_refuses(error, said):
    sentence = 'mmpretrain is installed and cannot be imported (ImportError: no libGL)'
    done = run(
        'import sys\n'
        'class Finder:\n'
        '    def find_spec(self, name, path=None, target=None):\n'
        f'        if name.startswith("mmpretrain"): raise {error}\n'
        'sys.meta_path.insert(0, Finder())\n'
        'import cosub_mm.losses, cosub_mm.stochastic_depth\n'
        'for _ in range(2):\n'
        '    try:\n'
        '        import mmpretrain\n'
        f'    except {error.partition("(")[0]}:\n'
        '        continue\n'
        '    raise AssertionError\n'
        'del sys.meta_path[sys.meta_path.index(next(\n'
        '    f for f in sys.meta_path if type(f).__name__ == "Finder"))]\n'
        'from mmpretrain.registry import MODELS\n'
        'assert MODELS.get("CosubViT") is not None\n'
    )
    assert done.stderr.count('cosub_mm: ') == done.stderr.count(sentence) == said


def test_a_stand_in_for_mmpretrain_is_no_conflict(monkeypatch):
    monkeypatch.setitem(sys.modules, 'mmpretrain', ModuleType('mmpretrain'))
    assert not list(conflicts())


def test_a_module_is_answered_to_once_and_keeps_its_loader(tmp_path, monkeypatch):
    (tmp_path / 'late_module.py').write_text('x = 1')
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, 'late_module', raising=False)
    calls = []
    after_import('late_module', lambda: calls.append(sys.modules['late_module'].x))
    after_import('no_such_module', lambda: calls.append('never'))
    with pytest.raises(ModuleNotFoundError, match='no_such_module'):
        import_module('no_such_module')
    assert not calls
    assert import_module('late_module') is import_module('late_module')
    assert calls == [1]
    assert inspect.getsource(sys.modules['late_module']) == 'x = 1\n'
    reload(sys.modules['late_module'])
    assert calls == [1]
    after_import('late_module', lambda: calls.append('at once'))
    assert calls == [1, 'at once']


def test_stochastic_depth_and_losses_are_torch_only():
    """It works where neither the OpenMMLab stack nor timm is installed."""
    run_alone(
        'import sys\n'
        'others = "mmengine", "mmcv", "mmpretrain", "mmseg", "timm", "torchvision", "numpy"\n'
        'sys.modules.update(dict.fromkeys(others))\n'  # importing them fails
        'import torch\n'
        'from cosub_mm.stochastic_depth import Branch, apply_stochastic_depth, register_block\n'
        'class Block(torch.nn.Module):\n'
        '    def __init__(self):\n'
        '        super().__init__()\n'
        '        self.mix, self.drop_path = torch.nn.Linear(4, 4), torch.nn.Identity()\n'
        '    def forward(self, x):\n'
        '        return x + self.drop_path(self.mix(x))\n'
        'register_block(Block, Branch("mix", "drop_path"))\n'
        'model = torch.nn.Sequential(Block(), Block()).train()\n'
        'apply_stochastic_depth(model, 0.5)\n'
        'from cosub_mm.losses import cosub_loss, cosub_pixel_loss\n'
        'logits = model(torch.randn(8, 4)).unflatten(0, (2, 4))\n'
        'sum(cosub_loss(logits, torch.tensor([0, 1, 2, 3])).values()).backward()\n'
        'assert all(p.grad is not None for p in model.parameters())\n'
    )


def test_a_registry_that_has_been_used_gets_the_module_at_once(monkeypatch):
    registry = Registry('thing', locations=[])
    registry.import_from_location()
    register_lazily(registry, 'this')  # any module that nothing imports
    assert 'this' in sys.modules
