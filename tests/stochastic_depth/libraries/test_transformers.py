"""Blocks of Hugging Face transformers, version 4 and 5; where it is installed."""

import pytest
import torch

from cosub_mm.stochastic_depth import apply_stochastic_depth, remove_stochastic_depth
from tests.stochastic_depth import models
from tests.stochastic_depth.proofs import (
    check_only_the_shortcut_is_left,
    check_subset_is_mask,
    in_double,
)

transformers = pytest.importorskip('transformers')

_VIT = dict(
    hidden_size=16,
    num_hidden_layers=2,
    num_attention_heads=2,
    intermediate_size=32,
    image_size=16,
    patch_size=8,
)
_SWIN = dict(
    image_size=16, patch_size=2, embed_dim=8, depths=[2, 1], num_heads=[2, 2], window_size=4
)
_RESNET = dict(embedding_size=4, hidden_sizes=[4, 8], depths=[2, 1])
_LEVIT = dict(
    image_size=32,
    hidden_sizes=[8, 12, 16],
    num_attention_heads=[1, 1, 2],
    depths=[1, 1, 1],
    key_dim=[4, 4, 4],
    drop_path_rate=0,
)
# Name: arguments, branches, modules that see the sum, blocks that are the identity.
CASES = {
    'ViT': (_VIT, 4, (), None),
    'DeiT': (_VIT, 4, (), None),
    'CLIPVision': (_VIT, 4, (), None),
    'SiglipVision': (_VIT, 4, (), None),
    'ViTMAE': (dict(_VIT, mask_ratio=0.0), 4, (), None),
    'ViTMSN': (_VIT, 4, (), None),
    'IJepa': (_VIT, 4, (), None),
    'ResNet': (dict(_RESNET, layer_type='basic'), 3, ('shortcut',), 2),
    'ResNet-bottleneck': (dict(_RESNET, layer_type='bottleneck'), 3, ('shortcut',), 2),
    'Swin': (dict(_SWIN, drop_path_rate=0.1), 6, (), None),
    'Swinv2': (dict(_SWIN, drop_path_rate=0.1), 6, (), None),
    'Swin2SR': (dict(_SWIN, patch_size=1, drop_path_rate=0.1), 6, (), None),
    'Levit': (_LEVIT, 8, (), None),
}


def build(name):
    """The model and images for it."""
    options = CASES[name][0]
    library_name = name.split('-')[0]
    torch.manual_seed(0)
    config = getattr(transformers, f'{library_name}Config')(**options)
    model = getattr(transformers, f'{library_name}Model')(config)
    side = options.get('image_size', 32)
    return in_double(model), torch.randn(5, 3, side, side)


@pytest.mark.parametrize('name', CASES)
def test_subset_is_mask_and_the_shortcut_alone_is_left(name):
    _, branches, kept, identities = CASES[name]
    model, x = build(name)
    report = check_subset_is_mask(model, x)
    assert len(report.blocks) == branches and not report.skipped
    assert all(branch.start and branch.rate == 0.4 for branch in report.blocks)
    check_only_the_shortcut_is_left(model, x, kept, identities)


@pytest.mark.parametrize('kind', ['CLIPText', 'SiglipText'])
def test_the_padding_of_texts_loses_the_same_rows(kind, request):
    torch.set_default_dtype(torch.float64)  # the causal mask of CLIP has it
    request.addfinalizer(lambda: torch.set_default_dtype(torch.float32))
    config = getattr(transformers, f'{kind}Config')(
        vocab_size=20,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=6,
        eos_token_id=1,
    )
    model = in_double(getattr(transformers, f'{kind}Model')(config))
    ids = torch.randint(2, 20, (5, 6))
    padding = (torch.arange(6)[None] < torch.tensor([6, 2, 3, 4, 5])[:, None]).long()
    results = []
    for implementation in ('mask', 'subset'):
        apply_stochastic_depth(model, 0.4, implementation=implementation)
        models.only_branches_train(model)
        model.zero_grad()
        torch.manual_seed(1)
        out = model(input_ids=ids, attention_mask=padding).last_hidden_state
        out.sum().backward()
        results.append([out.detach(), *(p.grad for p in model.parameters() if p.grad is not None)])
    for mask, subset in zip(*results, strict=True):
        torch.testing.assert_close(subset, mask, rtol=1e-9, atol=1e-9)


def test_the_own_dropping_of_levit_is_switched_off_and_said():
    model, _ = build('Levit')
    residual = next(m for m in model.modules() if hasattr(m, 'drop_rate'))
    residual.drop_rate = 0.3
    report = apply_stochastic_depth(model, 0.5)
    assert residual.drop_rate == 0
    assert 'its own dropping (drop_rate=0.3) is switched off' in str(report)
    assert apply_stochastic_depth(model, 0.2).blocks[0].rate == 0.2
    remove_stochastic_depth(model)
    assert residual.drop_rate == 0.3
    report = apply_stochastic_depth(model)
    assert [branch.rate for branch in report.blocks] == [0.3] + [0] * 7


def test_swin_computes_the_windows_of_the_kept_samples_only():
    model, _ = build('Swin')
    apply_stochastic_depth(model, 0.5, implementation='subset')
    models.only_branches_train(model)
    rows = []
    for module in model.modules():
        if type(module).__name__ == 'SwinAttention':
            module.register_forward_hook(lambda m, args, out: rows.append(len(args[0])))
    model(torch.randn(4, 3, 16, 16, dtype=torch.float64))
    assert rows == [2 * 4, 2 * 4, 2 * 1]  # two of four samples, of 4, 4 and 1 windows
