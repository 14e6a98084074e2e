"""A dropped row costs nothing: in every block of the table the work is the share of kept rows.

A branch that starts too late, or ends too early, has the same values and is only slower. Seen here
are the floating-point operations of forward and backward, and what each module is given and
returns, for norms cost none of the operations that are counted.
"""

import pytest
import timm
import torch
from mmseg.models.backbones import SwinTransformer as MMSegSwin
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.flop_counter import FlopCounterMode

from cosub_mm.stochastic_depth import apply_stochastic_depth
from tests.stochastic_depth import models

ROWS = 4
KEPT = 0.5
# What runs on all rows all the same, by the beginning of its name, and why.
WHOLE = {
    'downsample.': 'the stream itself goes through it',
    'attn.w_msa.cpb_mlp.': 'computed from offsets in a window, once a batch',
    'attn.cpb_mlp.': 'the same',
    'attn.meta_mlp.': 'the same',
}
WHOLE_IN = {
    'mm-deit3': ('ln1',),  # called for both branches, which start behind it
    'mm-edgenext': ('conv_modules.', 'pos_embed.'),  # before the first branch
    'timm-swinv2-cr': ('norm3',),  # behind the branches
    # The attention reads its batch size before it starts; the convolution is no branch.
    'timm-tinyvit': ('attn.', 'local_conv.'),
}

OTHERS = {
    'timm-tinyvit': lambda: timm.create_model(
        'tiny_vit_5m_224', depths=(1, 1), embed_dims=(16, 32), num_heads=(1, 2), window_sizes=(4, 4)
    ),
    'timm-swinv2': lambda: timm.create_model(
        'swinv2_tiny_window8_256', img_size=64, depths=(2,), embed_dim=24, window_size=4
    ),
    'timm-swinv2-cr': lambda: timm.create_model(
        'swinv2_cr_tiny_224', img_size=64, depths=(2,), embed_dim=24, num_heads=(2,), window_size=4
    ),
    'mmseg-swin': lambda: MMSegSwin(
        embed_dims=24, depths=(2,), num_heads=(2,), strides=(4,), out_indices=(0,), window_size=4
    ),
}
ALL = {**{name: make for name, (make, _) in models.MODELS.items()}, **OTHERS}


def blocks_with_inputs(model, x, report):
    """Path -> arguments of the block's forward in evaluation, for two blocks of each class."""
    kinds, seen, handles = {}, {}, []
    for branch in report.blocks:
        if branch.rate:  # class attention has none
            kinds.setdefault(branch.block_type, {})[branch.block] = None
    for path in (path for paths in kinds.values() for path in list(paths)[:2]):
        handles.append(
            model.get_submodule(path).register_forward_pre_hook(
                lambda _, args, kwargs, path=path: seen.__setitem__(path, (args, kwargs)),
                with_kwargs=True,
            )
        )
    model.eval()
    with torch.no_grad():
        model(x)
    for handle in handles:
        handle.remove()
    return seen


def fresh(value):
    def leaf(x):
        if not isinstance(x, torch.Tensor):
            return x
        return x.detach().clone().requires_grad_(x.is_floating_point())

    return tree_map(leaf, value)


def work(block, args, kwargs):
    """Operations of forward and backward, and sizes of what each module was given and returned."""
    args, kwargs, sizes, handles = fresh(args), fresh(kwargs), {}, []
    for name, module in block.named_modules():
        if name and not any(module.children()) and any(True for _ in module.parameters()):
            handles.append(
                module.register_forward_hook(
                    lambda _, x, y, name=name: sizes.setdefault(name, []).append(
                        (x[0].numel(), y.numel())
                    )
                )
            )
    with FlopCounterMode(display=False) as counter:
        out = block(*args, **kwargs)
        sum(y.sum() for y in tree_leaves(out) if isinstance(y, torch.Tensor)).backward()
    for handle in handles:
        handle.remove()
    return counter.get_total_flops(), sizes


@pytest.mark.parametrize('name', ALL)
def test_dropped_rows_cost_nothing(name):
    shape = models.MODELS[name][1] if name in models.MODELS else models.IMAGE
    model, x = ALL[name](), torch.randn(ROWS, *shape)
    report = apply_stochastic_depth(model, 1 - KEPT, implementation='mask')
    inputs = blocks_with_inputs(model, x, report)
    models.only_branches_train(model)
    full = {path: work(model.get_submodule(path), *given) for path, given in inputs.items()}
    apply_stochastic_depth(model, 1 - KEPT, implementation='subset')
    models.only_branches_train(model)
    assert full
    for path, given in inputs.items():
        operations, sizes = work(model.get_submodule(path), *given)
        assert set(sizes) == set(full[path][1])
        whole = {module for module in sizes if module.startswith((*WHOLE, *WHOLE_IN.get(name, ())))}
        for module, size in sizes.items():
            share = 1 if module in whole else KEPT
            for now, all_rows in zip(size, full[path][1][module], strict=True):
                # A first module takes the kept rows out of what it is given, a last one puts back.
                shares = {a / b for a, b in zip(now, all_rows)}
                assert share in shares <= {share, 1}, f'{path}.{module}: {now} of {all_rows}'
        if not whole:
            assert operations == KEPT * full[path][0], path
