"""mmpretrain's Lamb, which the recipes use, against timm's."""

import copy

import torch
from mmpretrain.registry import OPTIMIZERS
from timm.optim import Lamb as TimmLamb
from torch import nn


def groups(net: nn.Module) -> list[dict]:
    decayed = [p for p in net.parameters() if p.ndim > 1]
    rest = [p for p in net.parameters() if p.ndim < 2]
    return [dict(params=decayed, weight_decay=0.05), dict(params=rest, weight_decay=0.0)]


def test_lamb_steps_as_timm_does():
    """Same weights after 30 steps, with gradients on both sides of the clipping norm of 1.

    float32 on purpose: mmpretrain's computes the global norm in float32 whatever the parameters
    are, so float64 agrees to 1e-9 only.
    """
    ours = nn.Sequential(nn.Linear(8, 16), nn.LayerNorm(16), nn.Linear(16, 4))
    theirs = copy.deepcopy(ours)
    options = dict(type='Lamb', lr=3e-3, eps=1e-8)
    optimizers = [
        OPTIMIZERS.build(dict(options, params=groups(ours))),
        TimmLamb(groups(theirs), lr=3e-3, eps=1e-8),
    ]
    start = copy.deepcopy(ours.state_dict())
    norms = []
    for step in range(30):
        x, y = torch.randn(32, 8), torch.randn(32, 4)
        for net, optimizer in zip((ours, theirs), optimizers):
            optimizer.zero_grad()
            ((1, 1e-3, 30)[step % 3] * (net(x) - y).square().mean()).backward()
            norms.append(torch.cat([p.grad.flatten() for p in net.parameters()]).norm().item())
            optimizer.step()
    assert min(norms) < 1 < max(norms)
    for (name, a), b in zip(ours.named_parameters(), theirs.parameters()):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-7)
        assert (a - start[name]).abs().max() > 1e-3


def test_no_trust_ratio_without_weight_decay():
    """A parameter without decay takes Adam's first step, of size lr, whatever its norm."""
    p = nn.Parameter(torch.full((3,), 100.0))
    optimizer = OPTIMIZERS.build(
        dict(type='Lamb', lr=0.1, eps=1e-8, params=[dict(params=[p], weight_decay=0.0)])
    )
    p.grad = torch.tensor([1.0, -1.0, 0.5])
    optimizer.step()
    torch.testing.assert_close(p.data, 100 - 0.1 * p.grad.sign())
