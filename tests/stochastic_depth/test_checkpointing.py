"""A region that is computed anew for backward sees the rows and copies of its own forward pass."""

from functools import partial

import pytest
import timm
import torch
from mmengine.runner.activation_checkpointing import turn_on_activation_checkpointing
from mmpretrain.models import ConvNeXt, ResNet, SwinTransformer
from torch import nn
from torch.utils.checkpoint import checkpoint

from cosub_mm.stochastic_depth import (
    Branch,
    apply_stochastic_depth,
    copy_batch_late,
    describe,
    register_block,
)
from cosub_mm.stochastic_depth.places import table
from tests.stochastic_depth import models

SWIN = dict(embed_dims=12, depths=[1] * 4, num_heads=[1, 1, 2, 2])


class Around(nn.Module):
    """A model whose user checkpoints it, from outside."""

    def __init__(self, inner, **options):
        super().__init__()
        self.inner, self.options = inner, options

    def forward(self, x):
        return checkpoint(self.inner, x, **self.options) if self.options else self.inner(x)


class StemAndFirstBlock(Around):
    """One region goes from the pixels to behind the place where copies are made."""

    def begin(self, x):
        vit = self.inner
        return vit.blocks[0](vit.patch_embed(x))

    def forward(self, x):
        x = checkpoint(self.begin, x, **self.options) if self.options else self.begin(x)
        return self.inner.blocks[1](x)


class MaskedFirst(nn.Module):
    """Its two branches share their end, and the first can only be masked."""

    def __init__(self):
        super().__init__()
        self.mixer, self.mlp, self.drop_path = nn.Linear(6, 6), nn.Linear(6, 6), nn.Identity()

    def forward(self, x):
        rows = len(x)
        x = x + self.drop_path(self.mixer(x).view(rows, -1))
        return x + self.drop_path(self.mlp(x).tanh())


class Flat(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Flatten(), nn.Linear(3 * 32 * 32, 6), MaskedFirst(), MaskedFirst())


@pytest.fixture(autouse=True)
def _masked_first(monkeypatch):
    monkeypatch.setattr(table, 'BLOCKS', dict(table.BLOCKS))
    register_block(MaskedFirst, Branch(None, 'drop_path'), Branch('mlp', 'drop_path'))


def vit():
    return timm.create_model(
        'vit_tiny_patch16_224', depth=2, embed_dim=24, img_size=32, num_classes=5
    )


def pit():
    return timm.create_model('pit_ti_224', img_size=32, depth=(1, 1, 1), num_classes=5)


def wrap_forward(model, names, **options):
    for name in names:
        part = model.get_submodule(name)
        part.forward = partial(checkpoint, part.forward, **options)


def switch(model, names, **options):
    """As a user of each way would do."""
    if isinstance(model, Around):
        model.options = options
    elif names == 'timm':
        model.set_grad_checkpointing()
    elif names == 'with_cp':
        for module in model.modules():
            if hasattr(module, 'with_cp'):
                module.with_cp = True
    elif names == 'mmengine':
        turn_on_activation_checkpointing(model, ['blocks.0', 'blocks.1'])
    else:
        wrap_forward(model, names, **options)


CASES = {
    'the model, from outside': (lambda: Around(vit()), None),
    'stem and first block, from outside': (lambda: StemAndFirstBlock(vit()), None),
    'forward of the model': (vit, ['']),
    'forward of a model with a folded stem': (pit, ['']),
    'forward of the stem': (vit, ['patch_embed']),
    'forward of a folded stem': (pit, ['patch_embed']),
    'forward of the blocks': (vit, ['blocks.0', 'blocks.1']),
    'forward of all blocks as one': (vit, ['blocks']),
    'forward of blocks with a masked branch': (Flat, ['2', '3']),
    'mmengine': (vit, 'mmengine'),
    'timm': (vit, 'timm'),
    'with_cp, Swin': (
        lambda: SwinTransformer(arch=SWIN, img_size=32, pad_small_map=True),
        'with_cp',
    ),
    'with_cp, ConvNeXt': (
        lambda: ConvNeXt(arch=dict(depths=[1, 1, 1, 1], channels=[8, 8, 16, 16])),
        'with_cp',
    ),
    'with_cp, ResNet': (lambda: ResNet(18, base_channels=8, stem_channels=8), 'with_cp'),
}


def run(model, late):
    """Two forward passes, then the backward passes: outputs and gradients."""
    x = torch.randn(2, 3, 3, 32, 32, generator=torch.Generator().manual_seed(4)).double()
    x.requires_grad_()
    model.zero_grad()
    outputs = []
    for half, copies in zip(x, (2, 3)):
        torch.manual_seed(copies)
        if late:
            with copy_batch_late(model, half, copies) as batch:
                torch.manual_seed(copies)
                outputs.append(models.outputs(model, batch.inputs))
        else:
            outputs.append(models.outputs(model, torch.cat([half] * copies)))
    sum(out.square().sum() for out in outputs).backward()
    gradients = [x.grad, *(p.grad for p in model.parameters() if p.grad is not None)]
    return [*(out.detach() for out in outputs), *(g.clone() for g in gradients)]


@pytest.mark.parametrize(
    ('case', 'reentrant'),
    [
        (name, reentrant)
        for name, (_, names) in CASES.items()
        for reentrant in ((None,) if isinstance(names, str) else (False, True))  # or the library's
    ],
)
def test_recomputed_regions_give_the_same_gradients(case, reentrant):
    make, names = CASES[case]
    torch.manual_seed(0)
    model = make()
    apply_stochastic_depth(model, 0.5)
    model.double()
    models.only_branches_train(model)
    expected = run(model, late=False)
    if names is not None:  # a verdict from before the switch must not hold behind it
        run(model, late=True)
    switch(model, names, use_reentrant=reentrant)
    for late in (False, True):
        for a, b in zip(run(model, late), expected, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-10 * float(b.abs().max()))


def test_a_switch_that_nothing_shows_is_refused_where_the_copy_is_made():
    model = Around(vit())
    apply_stochastic_depth(model, 0.5)
    x = torch.randn(2, 3, 32, 32, requires_grad=True)
    for options in ({}, dict(use_reentrant=True)):
        model.train().options = options
        with copy_batch_late(model, x, 2) as batch:
            assert batch.late
            if options:
                with pytest.raises(RuntimeError, match='Activation checkpointing was switched on'):
                    model(batch.inputs)


@pytest.mark.parametrize(
    ('make', 'names', 'where'),
    [
        (vit, None, 'at blocks.0'),
        (vit, ['patch_embed'], 'at blocks.0'),
        (vit, ['blocks.0', 'blocks.1'], 'at blocks.0'),
        (vit, 'timm', 'behind patch_embed'),
        (
            vit,
            [''],
            'in front of the model: what comes before the first random branch is computed anew',
        ),
        (pit, ['patch_embed'], 'behind patch_embed'),
    ],
)
def test_where_the_copy_is_made(make, names, where):
    model = make().train()
    apply_stochastic_depth(model, 0.5)
    if names is not None:
        switch(model, names, use_reentrant=False)
    with copy_batch_late(model, torch.randn(2, 3, 32, 32), 2) as batch:
        model(batch.inputs)
    assert describe(model).late_copy.startswith(where)
