"""Layer depths and merged groups for networks of any depth."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from cosub_mm.architectures.layer_depths import layer_depths
from cosub_mm.engine.optimizers.param_groups import merge_groups

STAGES = st.lists(st.integers(1, 7), min_size=1, max_size=5)


def one() -> nn.Module:
    return nn.Linear(1, 1)


def stack(number: int) -> nn.ModuleList:
    return nn.ModuleList(one() for _ in range(number))


class VisionTransformer(nn.Module):
    """Parameter names of mmpretrain's; so below."""

    def __init__(self, blocks: int):
        super().__init__()
        self.patch_embed, self.layers, self.ln1 = one(), stack(blocks), one()


class SwinTransformer(nn.Module):
    def __init__(self, stages: list[int]):
        super().__init__()
        self.patch_embed, self.norm3 = one(), one()
        self.stages = nn.ModuleList()
        for blocks in stages:
            self.stages.append(nn.ModuleDict(dict(blocks=stack(blocks), downsample=one())))


class ConvNeXt(nn.Module):
    def __init__(self, stages: list[int]):
        super().__init__()
        self.downsample_layers = stack(len(stages))
        self.stages = nn.ModuleList(map(stack, stages))
        self.norm3 = one()


class ResNet(nn.Module):
    def __init__(self, stages: list[int]):
        super().__init__()
        self.conv1 = one()
        for i, blocks in enumerate(stages, 1):
            self.add_module(f'layer{i}', stack(blocks))


def walk(depths: dict[str, int]) -> list[int]:
    """Depths in the order of the parameters, each once in a row."""
    values = list(depths.values())
    return [v for i, v in enumerate(values) if not i or v != values[i - 1]]


@given(st.integers(1, 60))
def test_vit_has_a_layer_for_each_block_and_its_norm_joins_the_last(blocks):
    depths, head = layer_depths(VisionTransformer(blocks))
    assert head == blocks + 1
    assert walk(depths) == list(range(blocks + 1))


@given(STAGES)
def test_stages_count_through(stages):
    for network in (SwinTransformer, ResNet):
        depths, head = layer_depths(network(stages))
        assert head == sum(stages) + 1
        own = {k: v for k, v in depths.items() if not k.startswith('norm')}
        assert walk(own) == list(range(sum(stages) + 1))
        assert all(depths[name] == head for name in depths.keys() - own.keys())


@given(STAGES)
def test_convnext_joins_three_blocks_of_the_third_stage(stages):
    depths, head = layer_depths(ConvNeXt(stages))
    groups = [-(-blocks // 3) if i == 2 else 1 for i, blocks in enumerate(stages)]
    assert head == sum(groups) + 1
    assert depths['downsample_layers.0.weight'] == 0 and depths['norm3.weight'] == head
    for stage, blocks in enumerate(stages):
        first = 1 + sum(groups[:stage])
        if stage:
            assert depths[f'downsample_layers.{stage}.weight'] == first
        for block in range(blocks):
            expected = first + (block // 3 if stage == 2 else 0)
            assert depths[f'stages.{stage}.{block}.bias'] == expected


@given(STAGES)
@settings(max_examples=10)
def test_a_wrapper_changes_no_depth(stages):
    depths, head = layer_depths(SwinTransformer(stages))
    wrapper = nn.ModuleDict(dict(inner=nn.ModuleDict(dict(net=SwinTransformer(stages)))))
    wrapped, wrapped_head = layer_depths(wrapper)
    assert (wrapped, wrapped_head) == ({f'inner.net.{k}': v for k, v in depths.items()}, head)


SETTINGS = st.fixed_dictionaries(
    dict(lr=st.sampled_from([0.1, 0.2]), weight_decay=st.sampled_from([0.0, 0.05])),
    optional=dict(lr_scale=st.sampled_from([0.5, 1.0]), betas=st.just((0.9, 0.99))),
)


@given(st.lists(SETTINGS, max_size=30))
def test_merging_keeps_every_tensor_its_settings_and_leaves_none_to_merge(chosen):
    tensors = [torch.zeros(1) for _ in chosen]
    single = [dict(params=[t], names=[i], **s) for i, (t, s) in enumerate(zip(tensors, chosen))]
    merged = merge_groups(single)
    found = {}
    for group in merged:
        own = {k: v for k, v in group.items() if k not in ('params', 'names')}
        for tensor, number in zip(group['params'], group['names'], strict=True):
            assert tensor is tensors[number] and number not in found
            found[number] = own
    assert found == dict(enumerate(chosen))
    different = {str(sorted(s.items())) for s in chosen}
    assert len(merged) == len(different)
    assert [g['names'] for g in merged] == sorted(sorted(g['names']) for g in merged)
