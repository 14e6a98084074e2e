"""Weights to start from: all of the backbone, or a stop that names what differs."""

import logging

import pytest
import torch
from mmengine.config import Config
from mmengine.model import BaseModule
from torch import nn

from cosub_mm.engine.checkpoints import CheckpointError, NotAccepted, check_pretrained


class Backbone(BaseModule):
    def __init__(self, width=4, depth=2, patches=9, out_indices=(-1,), init_cfg=None):
        super().__init__(init_cfg)
        self.out_indices = out_indices
        self.pos_embed = nn.Parameter(torch.zeros(1, patches, width))
        self.layers = nn.ModuleList(nn.Linear(width, width) for _ in range(depth))
        self.norm0 = nn.LayerNorm(width)
        self.register_buffer('attn_mask', torch.zeros(patches))


class Classifier(BaseModule):
    def __init__(self, classes=3, neck=False, **backbone):
        super().__init__()
        self.backbone = Backbone(**backbone)
        if neck:
            self.neck = nn.Linear(4, 4)
        self.head = nn.Linear(backbone.get('width', 4), classes)


@pytest.fixture
def said(monkeypatch):
    """(level, text) of what the check says, in order."""
    lines = []

    def keep(text, logger=None, level=logging.INFO):
        lines.append((level, text))

    for module in ('start', 'acceptance'):
        monkeypatch.setattr(f'cosub_mm.engine.checkpoints.{module}.print_log', keep)
    return lines


def save(tmp_path, state):
    torch.save(dict(state_dict=state), tmp_path / 'a.pth')
    return str(tmp_path / 'a.pth')


def without(state, *beginnings):
    return {name: value for name, value in state.items() if not name.startswith(beginnings)}


OTHER_ARCHITECTURES = {
    # head.bias fits by chance, and nothing else.
    'wider': (dict(width=8), 'backbone.layers.0.weight is (8, 8) in the checkpoint and (4, 4)'),
    'deeper': (dict(depth=3), '2 of the checkpoint are left over (backbone.layers.2.weight'),
    'shallower': (dict(depth=1), '2 of the backbone are not in the checkpoint (backbone.layers.1'),
}


@pytest.mark.parametrize('by', ['load_from', 'init_cfg'])
@pytest.mark.parametrize('name', OTHER_ARCHITECTURES)
def test_other_architecture_stops_unless_accepted(tmp_path, said, name, by):
    options, words = OTHER_ARCHITECTURES[name]
    path = save(tmp_path, Classifier(**options).state_dict())
    if by == 'load_from':
        cfg, model = Config(dict(load_from=path)), Classifier()
    else:
        words = words.replace('backbone.', '')
        init_cfg = dict(type='Pretrained', checkpoint=path, prefix='backbone')
        cfg, model = Config(), Classifier(init_cfg=init_cfg)
    with pytest.raises(NotAccepted) as error:
        check_pretrained(cfg, model)
    assert words in str(error.value) and '--accept partial-weights' in str(error.value)
    cfg.accept = ['partial-weights']
    check_pretrained(cfg, model)
    (warning,) = (text for level, text in said if level == logging.WARNING)
    assert 'ACCEPTED' in warning and words in warning


def test_one_missing_tensor_of_the_backbone_is_enough(tmp_path):
    state = Classifier().state_dict()
    del state['backbone.layers.1.bias']
    cfg = Config(dict(load_from=save(tmp_path, state)))
    with pytest.raises(NotAccepted, match=r'1 of the backbone .* \(backbone.layers.1.bias\)'):
        check_pretrained(cfg, Classifier())


@pytest.mark.parametrize(
    'source, target, line',
    [
        (dict(classes=5), {}, '2 start anew (head.weight, head.bias)'),
        (dict(patches=4), {}, '1 start anew (backbone.pos_embed)'),
        ({}, dict(neck=True), '2 start anew (neck.weight, neck.bias)'),
        (dict(neck=True), {}, '2 of the checkpoint have no use here (neck.weight'),
        ({}, {}, '10/10 tensors of the model match'),
    ],
)
def test_heads_and_position_embeddings_may_differ(tmp_path, said, source, target, line):
    state = Classifier(**source).state_dict()
    check_pretrained(Config(dict(load_from=save(tmp_path, state))), Classifier(**target))
    ((level, text),) = said
    assert level == logging.INFO and line in text


def test_norms_of_single_stages_are_new_in_dense_prediction_only(tmp_path, said):
    state = without(Classifier().state_dict(), 'backbone.norm0')
    cfg = Config(dict(load_from=save(tmp_path, state)))
    with pytest.raises(NotAccepted, match='norm0'):
        check_pretrained(cfg, Classifier())
    check_pretrained(cfg, Classifier(out_indices=(0, 1)))
    assert '2 start anew (backbone.norm0.weight' in said[-1][1]


def test_whole_parts_without_use_are_said(tmp_path, said):
    """A segmentor without final norm or class attention starts from a classifier with them."""
    state = Classifier().state_dict()
    state |= {'backbone.ln1.weight': torch.ones(4), 'backbone.ca_layers.0.weight': torch.ones(4)}
    check_pretrained(Config(dict(load_from=save(tmp_path, state))), Classifier())
    assert '2 of the checkpoint have no use here (backbone.ln1.weight' in said[-1][1]


def test_weights_where_mmengine_does_not_look(tmp_path):
    torch.save(dict(model=Classifier().state_dict()), tmp_path / 'deit.pth')
    cfg = Config(dict(load_from=str(tmp_path / 'deit.pth')))
    with pytest.raises(CheckpointError, match="under 'model', where mmengine.*convert.py"):
        check_pretrained(cfg, Classifier())


def test_unknown_name_to_accept(tmp_path):
    cfg = Config(dict(load_from=save(tmp_path, Classifier().state_dict()), accept=['anything']))
    with pytest.raises(ValueError, match='partial-weights, other-classes, other-model'):
        check_pretrained(cfg, Classifier())


@pytest.mark.parametrize('depth, fits', [(2, True), (3, False)])
def test_backbone_of_mmseg_that_renames_its_weights(tmp_path, said, depth, fits):
    from mmseg.models.backbones import VisionTransformer

    vit = dict(img_size=32, patch_size=16, embed_dims=8, num_heads=2, mlp_ratio=2, out_indices=-1)
    source = VisionTransformer(num_layers=2, **vit)
    torch.save(source.state_dict(), tmp_path / 'vit.pth')
    init_cfg = dict(type='Pretrained', checkpoint=str(tmp_path / 'vit.pth'))
    model = nn.Module()
    model.backbone = VisionTransformer(num_layers=depth, init_cfg=init_cfg, **vit)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    if fits:
        (match,) = check_pretrained(Config(), model)
        assert not match.missing
    else:
        with pytest.raises(NotAccepted, match=r'not in the checkpoint \(layers\.2'):
            check_pretrained(Config(), model)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


@pytest.mark.parametrize('value', [float('nan'), float('inf')])
@pytest.mark.parametrize('way', ['load_from', 'init_cfg'])
def test_weights_that_are_no_numbers_are_refused_by_name(tmp_path, value, way):
    state = Classifier().state_dict()
    state['backbone.attn_mask'][:] = float('-inf')  # by its nature
    state['head.weight'] = torch.full((7, 4), value)  # of other classes: left out
    path = save(tmp_path, state)
    init = dict(type='Pretrained', checkpoint=path, prefix='backbone.')
    model = Classifier(init_cfg=init) if way == 'init_cfg' else Classifier()
    cfg = Config(dict(load_from=path) if way == 'load_from' else {})
    check_pretrained(cfg, model)
    state['backbone.layers.1.weight'][0, 0] = value
    save(tmp_path, state)
    with pytest.raises(CheckpointError, match=r'infinite or not a number: .*layers\.1\.weight\.'):
        check_pretrained(cfg, model)
