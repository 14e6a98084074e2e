"""Position embeddings that are not square keep their places: at load, on the way, at run time."""

import copy
import pickle

import pytest
import timm
import torch
from mmengine.config import Config
from mmengine.runner.checkpoint import get_state_dict, load_state_dict, save_checkpoint
from mmpretrain.models.utils import resize_pos_embed
from mmpretrain.registry import MODELS

import cosub_mm  # noqa: F401
from cosub_mm.architectures.convert import ConversionError, to_mmpretrain, to_timm
from cosub_mm.architectures.position_grid import keep_notes
from cosub_mm.engine.checkpoints import check_pretrained, match_weights
from cosub_mm.models.backbones import CosubTIMMBackbone, CosubViT

ARCH = dict(embed_dims=8, num_layers=1, num_heads=2, feedforward_channels=8)
TIMM = dict(embed_dim=192, depth=1, num_heads=3, mlp_ratio=1)


def ramp(grid: tuple[int, int], channels: int = 8) -> torch.Tensor:
    """Channel 0 holds the row, channel 1 the column, both from 0 to 1."""
    rows, columns = grid
    embedding = torch.zeros(1, rows * columns, channels)
    embedding[0, :, 0] = torch.linspace(0, 1, rows)[:, None].expand(rows, columns).flatten()
    embedding[0, :, 1] = torch.linspace(0, 1, columns)[None].expand(rows, columns).flatten()
    return embedding


def resized(source, target, channels: int = 8) -> torch.Tensor:
    return resize_pos_embed(ramp(source, channels), source, target, 'bicubic', num_extra_tokens=0)


class Ours:
    """CosubViT with patches of 4 pixels."""

    tolerance = 1e-6

    @staticmethod
    def build(grid, **kwargs):
        model = CosubViT(ARCH, img_size=(grid[0] * 4, grid[1] * 4), patch_size=4, **kwargs)
        with torch.no_grad():
            model.pos_embed.copy_(ramp(grid))
        return model

    @staticmethod
    def places(model):
        return model.pos_embed.detach()


class Timms:
    """A ViT of timm, whose class token has an entry too."""

    tolerance = 0.06  # timm smooths while it shrinks, mmpretrain does not

    @staticmethod
    def build(grid, **kwargs):
        size = (grid[0] * 16, grid[1] * 16)
        model = CosubTIMMBackbone('vit_tiny_patch16_224', img_size=size, **{**TIMM, **kwargs})
        with torch.no_grad():
            model.timm_model.pos_embed[:, -grid[0] * grid[1] :, :8] = ramp(grid)
        return model

    @staticmethod
    def places(model):
        patches = model.grid[0] * model.grid[1]
        return model.timm_model.pos_embed.detach()[:, -patches:, :8]


PAIRS = [
    ((4, 4), (6, 6)),
    ((12, 12), (9, 16)),
    ((9, 16), (12, 12)),
    ((9, 16), (18, 32)),
    ((8, 4), (6, 6)),
]


@pytest.mark.parametrize(('source', 'target'), PAIRS)
@pytest.mark.parametrize('kind', [Ours, Timms])
def test_every_place_is_found_again(kind, source, target):
    weights = kind.build(source).state_dict()
    for load in (torch.nn.Module.load_state_dict, load_state_dict):
        model = kind.build(target)
        load(model, copy.deepcopy(weights))
        expected = resized(source, target)
        torch.testing.assert_close(kind.places(model), expected, atol=kind.tolerance, rtol=0)
    again = kind.build(source)
    again.load_state_dict(weights)
    assert torch.equal(kind.places(again), kind.places(kind.build(source)))


def test_names_stay_and_the_model_can_be_copied_and_pickled():
    model = Ours.build((9, 16))
    assert not any('grid' in name for name in model.state_dict())
    for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        Ours.build((9, 16)).load_state_dict(twin.state_dict())


@pytest.mark.parametrize('kind', [Ours, Timms])
def test_weights_that_do_not_say_are_asked_about(kind):
    """A note-less file: error, or what pretrained_grid says, in the load and in the report."""
    foreign = dict(kind.build((12, 12)).state_dict())
    model = kind.build((9, 16))
    for load in (model.load_state_dict, lambda weights: match_weights(model, weights)):
        with pytest.raises(ValueError, match='12x12 patches.*pretrained_grid'):
            load(dict(foreign))
    model = kind.build((9, 16), pretrained_grid=(12, 12))
    model.load_state_dict(dict(foreign))
    torch.testing.assert_close(
        kind.places(model), resized((12, 12), (9, 16)), atol=kind.tolerance, rtol=0
    )
    foreign = dict(kind.build((8, 4)).state_dict())
    with pytest.raises(ValueError, match='32 position embeddings'):
        kind.build((6, 6)).load_state_dict(dict(foreign))
    model = kind.build((6, 6), pretrained_grid=(8, 4))
    match = match_weights(model, foreign)
    assert not match.other_shape and not match.missing
    model.load_state_dict(foreign)
    torch.testing.assert_close(
        kind.places(model), resized((8, 4), (6, 6)), atol=kind.tolerance, rtol=0
    )


@pytest.mark.parametrize('kind', [Ours, Timms])
@pytest.mark.parametrize('prefix', ['backbone.', 'backbone'])
def test_a_checkpoint_of_a_training_says_it_also_by_its_prefix(kind, prefix, tmp_path):
    """As UperNet starts from pre-training: mmengine takes the backbone's tensors out."""
    path = str(tmp_path / 'epoch_1.pth')
    classifier = torch.nn.ModuleDict(dict(backbone=kind.build((8, 4))))
    save_checkpoint(dict(state_dict=get_state_dict(classifier), meta={}), path)
    model = kind.build((6, 6), init_cfg=dict(type='Pretrained', checkpoint=path, prefix=prefix))
    # The tools' report reads it as well; without the grid both would ask for it.
    reports = [
        *check_pretrained(Config(), torch.nn.ModuleDict(dict(backbone=model))),
        match_weights(torch.nn.ModuleDict(dict(backbone=model)), classifier.state_dict()),
    ]
    assert all(len(report.matched) == report.total for report in reports)
    model.init_weights()
    expected = resized((8, 4), (6, 6))
    torch.testing.assert_close(kind.places(model), expected, atol=kind.tolerance, rtol=0)


@pytest.mark.parametrize(('source', 'target'), [(dict(no_embed_class=True), {}), (
    dict(reg_tokens=4), {}), ({}, dict(class_token=False, global_pool='avg'))])  # fmt: skip
def test_other_tokens_in_the_embedding_are_named(source, target):
    weights = dict(Timms.build((4, 4), **source).state_dict())
    with pytest.raises(ValueError, match=r'entries for [015] token\(s\).*no_embed_class'):
        Timms.build((6, 6), **target).load_state_dict(weights)


def test_a_file_of_timm_is_asked_for_its_grid(tmp_path):
    """A classifier's, whose head is left out; timm itself takes an equal count as it is."""
    model = timm.create_model('vit_tiny_patch16_224', img_size=192, num_classes=3, **TIMM)
    with torch.no_grad():
        model.pos_embed[:, 1:, :8] = ramp((12, 12))
    path = str(tmp_path / 'square.pth')
    torch.save(model.state_dict(), path)

    def load(size, **kwargs):
        options = dict(checkpoint_path=path, **{**TIMM, **kwargs})
        return CosubTIMMBackbone('vit_tiny_patch16_224', img_size=size, **options)

    assert torch.equal(load(192).timm_model.norm.weight, model.norm.weight)
    for size, grid in ((96, (6, 6)), ((288, 512), (18, 32))):
        expected = resized((12, 12), grid)
        for options in (dict(), dict(out_type='featmap')):  # maps need no last norm
            found = Timms.places(load(size, **options))
            torch.testing.assert_close(found, expected, atol=0.06, rtol=0)
    with pytest.raises(ValueError, match='12x12 patches.*or of 9x16.*pretrained_grid'):
        load((144, 256))
    wide = load((144, 256), pretrained_grid=(12, 12))
    expected = resized((12, 12), (9, 16))
    torch.testing.assert_close(Timms.places(wide), expected, atol=0.06, rtol=0)
    with pytest.raises(ValueError, match=r"square.pth' is of another model.*lacks.*blocks.1"):
        load(192, depth=2)


def test_timms_hub_is_not_let_load_scrambled(monkeypatch):
    """What the hub gives is loaded by timm, which says nothing of an equal count."""
    create = timm.create_model
    monkeypatch.setattr(timm, 'create_model', lambda *a, pretrained, **kw: create(*a, **kw))
    CosubTIMMBackbone('vit_tiny_patch16_224', img_size=192, pretrained=True, **TIMM)
    with pytest.raises(ValueError, match='9x16 patches.*scrambled.*pretrained_grid'):
        CosubTIMMBackbone('vit_tiny_patch16_224', img_size=(144, 256), pretrained=True, **TIMM)


@pytest.mark.parametrize('kind', [Ours, Timms])
def test_another_size_at_run_time_moves_no_place(kind):
    """A forward pass at 18x32 equals that of the model that was resized to it when it loaded."""
    small, large = kind.build((9, 16)).eval(), kind.build((18, 32)).eval()
    large.load_state_dict(small.state_dict())
    patch = 4 if kind is Ours else 16
    image = torch.randn(1, 3, 18 * patch, 32 * patch)
    torch.testing.assert_close(small(image)[0], large(image)[0])


@pytest.mark.parametrize('embeds_class', [True, False])
def test_converted_weights_keep_their_grid(embeds_class):
    name, size = 'vit_tiny_patch16_224', dict(img_size=(128, 64), num_classes=3)
    source = timm.create_model(name, **size, **TIMM, no_embed_class=not embeds_class).eval()
    weights = source.state_dict()
    with pytest.raises(ConversionError, match=r'--grid ROWS COLUMNS'):
        to_mmpretrain(weights)
    with pytest.raises(ConversionError, match=r'not those of 4x4 patches'):
        to_mmpretrain(weights, grid=(4, 4))
    converted = to_mmpretrain(weights, grid=(8, 4))
    arch = dict(embed_dims=192, num_layers=1, num_heads=3, feedforward_channels=192)
    model = MODELS.build(
        dict(
            type='ImageClassifier',
            backbone=dict(type='CosubViT', arch=arch, img_size=(128, 64)),
            head=dict(type='VisionTransformerClsHead', num_classes=3, in_channels=192),
        )
    ).eval()
    model.load_state_dict(converted)
    image = torch.randn(2, 3, 128, 64)
    logits = model.head(model.extract_feat(image))
    torch.testing.assert_close(logits, source(image), rtol=1e-4, atol=1e-4)
    # There and back, and on to another size, the grid stays with the weights.
    there_and_back = to_mmpretrain(to_timm(model.state_dict()))
    other = CosubViT(arch, img_size=96)
    inner = {n[9:]: value for n, value in there_and_back.items() if n.startswith('backbone.')}
    other.load_state_dict(keep_notes(inner, there_and_back, strip='backbone.'))
    expected = resize_pos_embed(
        model.backbone.pos_embed, (8, 4), (6, 6), 'bicubic', num_extra_tokens=0
    )
    torch.testing.assert_close(other.pos_embed, expected)


@pytest.mark.parametrize(
    'cfg',
    [
        dict(type='VisionTransformer', arch=ARCH, patch_size=4),
        dict(type='CosubTIMMBackbone', model_name='vit_tiny_patch16_224', patch_size=4, **TIMM)
        | dict(dynamic_img_size=True),
    ],
    ids=lambda cfg: cfg['type'],
)
def test_the_report_does_not_count_what_others_may_scramble(cfg):
    """Stock backbones take an equal count as it is, and we cannot ask for them."""
    square, wide = (MODELS.build(dict(cfg, img_size=size)) for size in ((48, 48), (36, 64)))
    match = match_weights(wide, square.state_dict())
    assert len(match.matched) == match.total - 1
    assert 'may be for another grid of patches' in str(match) and 'pos_embed' in str(match)


def test_an_embedding_of_another_layout_is_left_to_timm():
    """SAM's is (1, H, W, C)."""
    cfg = dict(model_name='samvit_base_patch16', img_size=64, embed_dim=32, depth=1, num_heads=2)
    model, again = (CosubTIMMBackbone(**cfg, out_type='featmap').eval() for _ in range(2))
    torch.nn.init.normal_(model.timm_model.pos_embed)
    again.load_state_dict(model.state_dict())
    image = torch.randn(1, 3, 64, 64)
    assert torch.equal(again(image)[0], model(image)[0])
