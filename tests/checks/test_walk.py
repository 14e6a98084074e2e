"""Data sets are found in whatever wraps them."""

import pytest
from mmengine.config import Config

from cosub_mm.checks.labels import check_ignore_index
from cosub_mm.checks.walk import datasets_of, with_wrappers
from cosub_mm.launch.config import set_data_root

A, B = dict(type='ImageNet', data_root='a'), dict(type='ImageNet', data_root='b')


@pytest.mark.parametrize(
    ('dataset', 'found'),
    [
        (A, 'a'),
        (dict(type='RepeatDataset', dataset=A), 'a'),
        (dict(type='ConcatDataset', datasets=[A, B]), 'ab'),
        (dict(type='RepeatDataset', dataset=dict(type='ConcatDataset', datasets=[B, A])), 'ba'),
        (dict(type='ConcatDataset', datasets=[dict(type='RepeatDataset', dataset=A), B]), 'ab'),
    ],
)
def test_every_data_set_that_reads_files(tmp_path, dataset, found):
    cfg = Config(dict(train_dataloader=dict(dataset=dataset), val_dataloader=None))
    assert ''.join(leaf.data_root for _, leaf in datasets_of(cfg)) == found
    assert {part for part, _ in datasets_of(cfg)} == {'train'}
    assert next(with_wrappers(cfg.train_dataloader.dataset)).type == dataset['type']
    assert not list(datasets_of(cfg, ('val', 'test')))
    set_data_root(cfg, str(tmp_path))
    assert {leaf.data_root for _, leaf in datasets_of(cfg)} == {str(tmp_path)}


@pytest.mark.parametrize(
    ('second', 'told'),
    [
        (dict(ignore_index=9, reduce_zero_label=True), 'reduce_zero_label turns 0 into 255'),
        (dict(), 'not the same everywhere'),
    ],
)
def test_the_second_of_two_joined_data_sets_is_checked_too(second, told):
    """Its masks would have the ignored label 255, and the loss another."""
    sets = [dict(type='ADE20KDataset', ignore_index=9), dict(type='ADE20KDataset', **second)]
    joined = dict(type='ConcatDataset', datasets=sets)
    model = dict(decode_head=dict(ignore_index=9), data_preprocessor=dict(seg_pad_val=9))
    with pytest.raises(ValueError, match=told):
        check_ignore_index(Config(dict(model=model, train_dataloader=dict(dataset=joined))))
