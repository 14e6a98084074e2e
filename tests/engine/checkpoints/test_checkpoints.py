import os

import pytest
import torch
from mmengine.config import Config
from mmengine.model import BaseModule
from torch import nn

from cosub_mm.engine.checkpoints import (
    CheckpointError,
    check_pretrained,
    check_resume,
    check_weights,
    latest_checkpoint,
    load_checkpoint,
    match_weights,
)


class Net(BaseModule):
    """A body and a head; the body can start from a checkpoint."""

    def __init__(self, width: int = 4, classes: int = 3, init_cfg=None):
        super().__init__()
        self.body = Body(width, init_cfg)
        self.head = nn.Linear(width, classes)


class Body(BaseModule):
    def __init__(self, width: int, init_cfg=None):
        super().__init__(init_cfg)
        self.one = nn.Linear(width, width)
        self.norm = nn.BatchNorm1d(width)


def save(path, net, **extra):
    torch.save(dict(state_dict=net.state_dict(), **extra), path)
    return str(path)


def pretrained(path, **options):
    return dict(type='Pretrained', checkpoint=str(path), **options)


def test_match_reports_every_kind():
    weights = Net(classes=5).state_dict()
    weights['extra'] = weights.pop('body.one.bias')
    match = match_weights(Net(), weights)
    assert match.other_shape == ['head.weight', 'head.bias']
    assert match.missing == ['body.one.bias']
    assert match.unexpected == ['extra']
    # 9 tensors, of which num_batches_tracked does not count.
    assert (len(match.matched), match.total) == (5, 8)
    assert '5/8 tensors' in str(match) and 'extra' in str(match)


def test_match_runs_loading_hooks_without_changing_anything():
    """A hook that renames keys, as the resizing of position embeddings does for values."""

    def rename(module, state, prefix, *_):
        if f'{prefix}old' in state:
            state[f'{prefix}weight'] = state.pop(f'{prefix}old')

    net = Net()
    net.head.register_load_state_dict_pre_hook(rename)
    weights = net.state_dict()
    weights['head.old'] = weights.pop('head.weight')
    before = dict(weights)
    assert match_weights(net, weights).missing == []
    assert weights.keys() == before.keys()


def test_position_embeddings_of_another_size_match():
    from mmpretrain.registry import MODELS

    arch = dict(embed_dims=32, num_layers=1, num_heads=2, feedforward_channels=64)
    vit = dict(type='CosubViT', arch=arch, patch_size=8)
    small, large = (MODELS.build(dict(vit, img_size=size)) for size in (32, 64))
    assert small.pos_embed.shape != large.pos_embed.shape
    match = match_weights(large, small.state_dict())
    assert not match.other_shape and not match.missing


def test_pretrained_part_with_prefix(tmp_path):
    path = save(tmp_path / 'a.pth', Net())
    net = Net(init_cfg=pretrained(path, prefix='body.'))
    (match,) = check_pretrained(Config(), net)
    assert (len(match.matched), match.total) == (6, 6)


def test_wrong_prefix_names_what_there_is(tmp_path):
    path = save(tmp_path / 'a.pth', Net())
    with pytest.raises(CheckpointError, match=r"'backbone\.'.*0 tensors.*body, head"):
        check_pretrained(Config(), Net(init_cfg=pretrained(path, prefix='backbone')))


def test_forgotten_prefix_is_suggested(tmp_path):
    path = save(tmp_path / 'a.pth', Net())
    with pytest.raises(CheckpointError, match=r"0/6 tensors.*prefix='body\.'"):
        check_pretrained(Config(), Net(init_cfg=pretrained(path)))


def test_other_width_is_another_architecture(tmp_path):
    path = save(tmp_path / 'a.pth', Net(width=8))
    # head.bias has the same name and shape in both: one match is not enough.
    with pytest.raises(CheckpointError, match='another architecture.*1/8'):
        check_pretrained(Config(dict(load_from=path)), Net())


def test_load_from_may_lack_the_head(tmp_path):
    path = save(tmp_path / 'a.pth', Net(classes=7))
    (match,) = check_pretrained(Config(dict(load_from=path)), Net())
    assert match.other_shape == ['head.weight', 'head.bias']
    with pytest.raises(CheckpointError, match=r'2 of another shape \(head\.weight'):
        check_weights(path, Net())


def test_training_only_parts_may_be_missing_for_a_test(tmp_path):
    path = save(tmp_path / 'a.pth', Net())
    net = Net()
    net.auxiliary_head = nn.Linear(2, 2)
    assert check_weights(path, net).missing == ['auxiliary_head.weight', 'auxiliary_head.bias']
    with pytest.raises(CheckpointError, match='auxiliary_head'):
        check_weights(path, net, training=True)


def test_unreadable_files(tmp_path):
    whole = save(tmp_path / 'a.pth', Net())
    cut = tmp_path / 'cut.pth'
    for share in (0, 0.5, 0.99):
        content = (tmp_path / 'a.pth').read_bytes()
        cut.write_bytes(content[: int(share * len(content))])
        with pytest.raises(CheckpointError, match='cut.pth.*truncated'):
            load_checkpoint(str(cut))
    with pytest.raises(FileNotFoundError, match=r"'b.pth' does not exist|b\.pth.*holds a\.pth"):
        load_checkpoint(str(tmp_path / 'b.pth'))
    torch.save([1, 2], tmp_path / 'list.pth')
    with pytest.raises(CheckpointError, match='holds a list'):
        load_checkpoint(str(tmp_path / 'list.pth'))
    assert 'state_dict' in load_checkpoint(whole)


def test_resume_needs_the_state_of_a_training(tmp_path):
    meta = dict(epoch=3, iter=30)
    with pytest.raises(CheckpointError, match='cannot be resumed.*load_from='):
        check_resume(save(tmp_path / 'best.pth', Net(), meta=meta))
    assert check_resume(save(tmp_path / 'epoch_3.pth', Net(), meta=meta, optimizer={})) == meta


def test_latest_checkpoint_survives_a_move_and_a_crash(tmp_path):
    assert latest_checkpoint(str(tmp_path)) is None
    for name in ('epoch_9.pth', 'epoch_10.pth', 'best_epoch_4.pth', '.epoch_11.pth.part'):
        (tmp_path / name).touch()
    newest = str(tmp_path / 'epoch_10.pth')
    assert latest_checkpoint(str(tmp_path)) == newest
    pointer = tmp_path / 'last_checkpoint'
    pointer.write_text('/moved/from/here/epoch_9.pth')
    assert latest_checkpoint(str(tmp_path)) == str(tmp_path / 'epoch_9.pth')
    for broken in ('', '/gone/epoch_12.pth'):
        pointer.write_text(broken)
        assert latest_checkpoint(str(tmp_path)) == newest


def test_latest_checkpoint_survives_a_kill_before_its_name_is_noted(tmp_path):
    pointer, before, behind = (
        tmp_path / name for name in ('last_checkpoint', 'epoch_3.pth', 'epoch_4.pth')
    )
    pointer.write_text(str(before))
    for age, path in ((30, before), (20, pointer), (10, behind)):
        path.touch()
        os.utime(path, (1e9 - age, 1e9 - age))
    assert latest_checkpoint(str(tmp_path)) == str(behind)
    os.utime(behind, (1e9 - 40, 1e9 - 40))  # of an older run, from whose past this one branched
    assert latest_checkpoint(str(tmp_path)) == str(before)
