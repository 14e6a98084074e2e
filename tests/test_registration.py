"""Importing the package: what becomes known, and what is not loaded for it."""

import subprocess
import sys

import pytest
from mmengine.registry import Registry

from cosub_mm.registry import register_lazily

LOOK_UP = """
from mmpretrain.registry import HOOKS, MODELS, TRANSFORMS
from mmseg.registry import MODELS as SEG_MODELS
for name in ('CosubClassifier', 'CosubViT', 'CosubBackbone'):
    assert MODELS.get(name) is not None, name
    assert SEG_MODELS.get(f'mmpretrain.{name}') is MODELS.get(name), name
assert HOOKS.get('EfficientDropPathHook') is not None
assert TRANSFORMS.get('ThreeAugment') is not None
assert SEG_MODELS.get('CosubSegmentor') is not None
"""


def run(code: str) -> None:
    result = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr[-2000:]


@pytest.mark.parametrize(
    'first',
    [
        'import cosub_mm',
        'import mmpretrain, cosub_mm',
        'import mmseg, cosub_mm',
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


def test_stochastic_depth_and_losses_are_torch_only():
    """It works where neither the OpenMMLab stack nor timm is installed."""
    run(
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
    registry._imported = True
    register_lazily(registry, 'this')  # any module that nothing imports
    assert 'this' in sys.modules
