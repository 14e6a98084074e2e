"""Position embeddings are resized as their authors do: bicubic, at load and at run time.

DeiT III interpolates without smoothing; timm smooths where it shrinks.
"""

import pytest
import torch
import torch.nn.functional as F

from cosub_mm.models.backbones import CosubTIMMBackbone, CosubViT

ARCH = dict(embed_dims=8, num_layers=1, num_heads=2, feedforward_channels=8)


def vit(grid):
    return CosubViT(ARCH, img_size=(grid[0] * 4, grid[1] * 4), patch_size=4)


def pit(grid):
    size = (grid[0] * 8 + 8, grid[1] * 8 + 8)  # patches of 16 at every 8 pixels
    return CosubTIMMBackbone('pit_ti_224', img_size=size, depth=(1, 1, 1))


def timm_vit(grid):
    size = (grid[0] * 16, grid[1] * 16)
    return CosubTIMMBackbone(
        'vit_tiny_patch16_224', img_size=size, embed_dim=12, depth=1, num_heads=3
    )


def as_map(embedding, grid):
    if embedding.dim() == 4:
        return embedding
    patches = embedding[:, -grid[0] * grid[1] :]
    return patches.transpose(1, 2).unflatten(2, grid)


def embedding_of(model):
    return getattr(model, 'timm_model', model).pos_embed


def what_is_added(model, image):
    """Position embedding of a forward pass: the stem's output where no patch says anything."""
    inner = getattr(model, 'timm_model', model)
    for parameter in inner.patch_embed.parameters():
        torch.nn.init.zeros_(parameter)
    seen = []
    dropout = inner.drop_after_pos if isinstance(model, CosubViT) else inner.pos_drop
    handle = dropout.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    model(image)
    handle.remove()
    return seen[0]


@pytest.mark.parametrize('target', [(9, 12), (3, 4)])
@pytest.mark.parametrize('build, smooths', [(vit, False), (pit, True), (timm_vit, True)])
def test_position_embeddings_are_resized_bicubically(build, smooths, target):
    source = (6, 5)
    small, large = build(source).eval(), build(target).eval()
    with torch.no_grad():
        embedding_of(small).normal_()
    expected = F.interpolate(
        as_map(embedding_of(small), source), target, mode='bicubic', antialias=smooths
    )
    large.load_state_dict(small.state_dict())
    torch.testing.assert_close(as_map(embedding_of(large), target), expected)

    size = {vit: 4, pit: 8, timm_vit: 16}[build]
    rest = 8 if build is pit else 0
    image = torch.zeros(1, 3, target[0] * size + rest, target[1] * size + rest)
    torch.testing.assert_close(as_map(what_is_added(small, image), target), expected)
