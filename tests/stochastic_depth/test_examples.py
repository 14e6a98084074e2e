"""What blocks are proven on: one sample, or equal ones, must not pass what mixes samples."""

import pytest
import timm
import torch
from torch import nn

from cosub_mm.stochastic_depth import (
    Branch,
    UnknownBlockError,
    apply_stochastic_depth,
    register_block,
)
from cosub_mm.stochastic_depth.places import table
from tests.stochastic_depth.proofs import check_subset_is_mask, in_double

TOKENS, DIM = 5, 6
OPTIONS = {'drop path': {}, 'all': {'find': 'all'}}


@pytest.fixture(autouse=True)
def _own_table(monkeypatch):
    monkeypatch.setattr(table, 'BLOCKS', dict(table.BLOCKS))


class Mixes(nn.Module):
    """The mean over the samples is taken behind the norm, where the branch must not start.

    It has no gradient, which would tell of it where all samples are equal.
    """

    def __init__(self, kind):
        super().__init__()
        self.norm, self.mlp = nn.LayerNorm(DIM), nn.Linear(DIM, DIM)
        if kind == 'drop path':
            self.drop_path = nn.Identity()
        self.kind = kind

    def forward(self, x):
        y = self.norm(x)
        y = self.mlp(y - y.mean(0, keepdim=True).detach() / 2)
        return x + (self.drop_path(y) if self.kind == 'drop path' else y)


EXAMPLES = {
    'one sample': torch.randn(1, TOKENS, DIM).double(),
    'zeros': torch.zeros(3, TOKENS, DIM).double(),
    'one of ones': torch.ones(1, TOKENS, DIM).double(),
}


@pytest.mark.parametrize('example', EXAMPLES.values(), ids=EXAMPLES)
@pytest.mark.parametrize('kind', OPTIONS)
def test_an_example_of_few_or_equal_samples_proves_as_much(kind, example):
    model = in_double(nn.Sequential(nn.Identity(), Mixes(kind), Mixes(kind)))
    options = dict(OPTIONS[kind], example_input=example)
    report = check_subset_is_mask(model, torch.randn(7, TOKENS, DIM), **options)
    assert {b.start for b in report.blocks} == {'mlp' if kind == 'drop path' else None}


@pytest.mark.parametrize('example', EXAMPLES.values(), ids=EXAMPLES)
def test_a_wrong_registration_is_refused_on_it(example):
    register_block(Mixes, Branch('norm', 'drop_path'))
    model = nn.Sequential(Mixes('drop path')).double()
    with pytest.raises(UnknownBlockError, match='rows of the branch mix'):
        apply_stochastic_depth(model, 0.4, example_input=example)


class Decoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.TransformerDecoderLayer(DIM, 2, 8, dropout=0, batch_first=True)

    def forward(self, inputs):
        return self.layer(*inputs)


def test_all_that_one_sample_gives_is_made_as_many():
    given = torch.randn(7, TOKENS, DIM).double(), torch.randn(7, 3, DIM).double()
    model = in_double(Decoder())
    results = []
    for implementation in ('mask', 'subset'):
        example = (tuple(x[:1] for x in given),)
        apply_stochastic_depth(
            model, 0.4, implementation=implementation, example_input=example, find='all'
        )
        model.train()
        torch.manual_seed(0)
        results.append(model(given))
    torch.testing.assert_close(*results, rtol=1e-9, atol=1e-12)


def test_a_search_within_inference_mode():
    options = dict(depth=1, embed_dim=24, num_heads=2, img_size=32, num_classes=2)
    model = timm.create_model('beit_base_patch16_224', **options)
    with torch.inference_mode():
        report = apply_stochastic_depth(model, 0.5, implementation='subset')
    assert len(report.blocks) == 2
    model.train()(torch.randn(4, 3, 32, 32)).sum().backward()
