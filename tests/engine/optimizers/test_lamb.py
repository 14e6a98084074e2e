"""LAMB of the recipes against apex's formula, and checkpoints of mmpretrain's."""

import sys
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmpretrain.registry import MODELS, OPTIMIZERS
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from cosub_mm.engine.optimizers import MergedGroupsOptimWrapperConstructor

ROOT = Path(__file__).parents[3] / 'configs'
LR, WD, EPS, BETAS = 3e-3, 0.05, 1e-8, (0.9, 0.999)


def network():
    return nn.Sequential(nn.Linear(8, 16), nn.LayerNorm(16), nn.Linear(16, 4)).double()


def groups(net: nn.Module) -> list[dict]:
    decayed = [p for p in net.parameters() if p.ndim > 1]
    rest = [p for p in net.parameters() if p.ndim < 2]
    return [dict(params=decayed, weight_decay=WD), dict(params=rest, weight_decay=0.0)]


def build(kind, params, **options):
    return OPTIMIZERS.build(dict(type=kind, lr=LR, eps=EPS, params=params, **options))


def give_gradients(step, *nets):
    """Norms on both sides of the clipping norm of 1."""
    gen = torch.Generator().manual_seed(step)
    scale = (10, 0.01, 100)[step % 3]
    for params in zip(*(net.parameters() for net in nets)):
        grad = scale * torch.randn(params[0].shape, generator=gen, dtype=torch.float64)
        for param in params:
            param.grad = grad.to(param.dtype)


def apex_step(params, moments, step):
    """FusedLAMB as apex documents and computes it, adam_w_mode, use_nvlamb off."""
    norm = sum(p.grad.square().sum() for p in params).sqrt()
    clip = max(1.0, norm.item() / 1.0)
    for p, (m, v) in zip(params, moments):
        grad = p.grad / clip
        m.mul_(BETAS[0]).add_((1 - BETAS[0]) * grad)
        v.mul_(BETAS[1]).add_((1 - BETAS[1]) * grad**2)
        m_hat, v_hat = m / (1 - BETAS[0] ** step), v / (1 - BETAS[1] ** step)
        decay = WD if p.ndim > 1 else 0.0
        update = m_hat / (v_hat.sqrt() + EPS) + decay * p
        ratio = p.norm() / update.norm() if decay and p.norm() and update.norm() else 1.0
        p.sub_(LR * ratio * update)


@pytest.mark.parametrize('foreach', [True, False])
def test_five_steps_of_apex_formula(foreach):
    net = network()
    direct = [p.detach().clone() for p in net.parameters()]
    moments = [(torch.zeros_like(p), torch.zeros_like(p)) for p in direct]
    optimizer = build('CosubLamb', groups(net), foreach=foreach)
    for step in range(1, 6):
        give_gradients(step, net)
        norm = torch.cat([p.grad.flatten() for p in net.parameters()]).norm()
        assert (norm > 1) == (step % 3 != 1)
        for p, trained in zip(direct, net.parameters()):
            p.grad = trained.grad.clone()
        optimizer.step()
        apex_step(direct, moments, step)
        for p, trained in zip(direct, net.parameters()):
            torch.testing.assert_close(trained.detach(), p, rtol=1e-12, atol=1e-14)


def test_no_trust_ratio_without_weight_decay():
    """A parameter without decay takes Adam's first step, of size lr, whatever its norm."""
    p = nn.Parameter(torch.full((3,), 100.0))
    optimizer = build('CosubLamb', [dict(params=[p], weight_decay=0.0)])
    p.grad = torch.tensor([1.0, -1.0, 0.5])
    optimizer.step()
    torch.testing.assert_close(p.data, 100 - LR * p.grad.sign())


def test_resumes_from_mmpretrains(tmp_path):
    """Three steps of mmpretrain's, a checkpoint, and then the same steps as without it."""
    old, new = (network().float() for _ in range(2))
    before = build('Lamb', groups(old))
    for step in range(3):
        give_gradients(step, old)
        before.step()
    torch.save(before.state_dict(), tmp_path / 'state.pth')
    new.load_state_dict(old.state_dict())
    after = build('CosubLamb', groups(new))
    after.load_state_dict(torch.load(tmp_path / 'state.pth'))
    assert all(group['foreach'] for group in after.param_groups)
    for step in range(3, 6):
        give_gradients(step, old, new)
        before.step()
        after.step()
    for a, b in zip(old.parameters(), new.parameters()):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize('scope', ['mmpretrain', 'mmseg', 'mmengine'])
def test_found_in_every_scope(scope):
    from mmengine.registry import OPTIMIZERS as ROOT_OPTIMIZERS

    init_default_scope(scope)
    optimizer = ROOT_OPTIMIZERS.build(dict(type='CosubLamb', params=network().parameters()))
    assert optimizer.defaults['foreach'] is True


def test_an_older_timm_is_named(monkeypatch):
    class Lamb(torch.optim.SGD):
        def __init__(self, params, lr=1e-3):
            super().__init__(params, lr)

    monkeypatch.setattr('timm.optim.Lamb', Lamb)
    monkeypatch.setattr('timm.__version__', '1.0.9')
    with pytest.raises(ImportError, match=r'foreach.*timm 1\.0\.9.*type=Lamb'):
        build('CosubLamb', network().parameters())


def test_the_limit_of_recompilations_stays(monkeypatch):
    """timm.optim sets it to a million, under which a compiled run may compile without end."""
    import torch._dynamo

    for name in [name for name in sys.modules if name.startswith('timm.optim')]:
        monkeypatch.delitem(sys.modules, name)
    with torch._dynamo.config.patch(recompile_limit=8):
        build('CosubLamb', network().parameters())
        assert torch._dynamo.config.recompile_limit == 8


class _Count(TorchDispatchMode):
    def __init__(self):
        super().__init__()
        self.operators = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.operators += 1
        return func(*args, **(kwargs or {}))


def test_few_operators_a_step():
    """ViT-S's recipe: each operator is a kernel that a GPU waits for; mmpretrain's has 4,057."""
    cfg = Config.fromfile(ROOT / 'cosub/vit-s_in1k.py')
    init_default_scope('mmpretrain')
    cfg.model.backbone.arch = dict(
        embed_dims=8, num_layers=12, num_heads=2, feedforward_channels=16
    )
    cfg.model.head.update(in_channels=8, num_classes=10)
    model = MODELS.build(cfg.model)
    wrapper = cfg.optim_wrapper
    optimizer = MergedGroupsOptimWrapperConstructor(wrapper, wrapper.pop('paramwise_cfg'))(
        model
    ).optimizer
    assert sum(len(group['params']) for group in optimizer.param_groups) == 176
    for param in model.parameters():
        param.grad = torch.ones_like(param)
    optimizer.step()
    with _Count() as count:
        optimizer.step()
    assert 10 < count.operators <= 200


def test_of_the_recipes():
    """Every recipe that says LAMB takes this one."""
    for file in (ROOT / '_base_/schedules').glob('*.py'):
        kind = Config.fromfile(file).optim_wrapper.optimizer.type
        assert kind in ('CosubLamb', 'AdamW', 'SGD'), file.name
