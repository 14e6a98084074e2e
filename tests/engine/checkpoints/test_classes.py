from types import SimpleNamespace

import pytest

from cosub_mm.engine.checkpoints import NotAccepted, check_classes


def data(*classes):
    return SimpleNamespace(metainfo=dict(classes=classes))


def trained(*classes):
    return dict(meta=dict(dataset_meta=dict(classes=classes)))


@pytest.mark.parametrize(
    'now, words',
    [
        (('b', 'a', 'c'), "the same names in another order, label 0 is 'a' in the checkpoint"),
        (('a', 'b', 'x'), "label 2 is 'c' in the checkpoint and 'x' in the data; 1 in the check"),
        (('a', 'b'), '3 classes in the checkpoint, 2 in the data'),
    ],
)
def test_other_classes_stop_unless_accepted(now, words):
    with pytest.raises(NotAccepted) as error:
        check_classes(trained('a', 'b', 'c'), 'm.pth', data(*now), ())
    assert words in str(error.value) and '--accept other-classes' in str(error.value)
    check_classes(trained('a', 'b', 'c'), 'm.pth', data(*now), ['other-classes'])


@pytest.mark.parametrize(
    'meta', [dict(CLASSES=['a', 'b']), dict(dataset_meta=dict(CLASSES=('a', 'b')))]
)
def test_classes_as_older_versions_saved_them(meta):
    check_classes(dict(meta=meta), 'm.pth', data('a', 'b'), ())
    with pytest.raises(NotAccepted, match='another order'):
        check_classes(dict(meta=meta), 'm.pth', data('b', 'a'), ())


@pytest.mark.parametrize(
    'checkpoint, dataset',
    [
        (trained('a', 'b'), data('a', 'b')),
        (dict(meta=dict(dataset_meta=dict(CLASSES=None))), data('a')),
        (dict(state_dict={}), data('a')),
        (trained('a'), SimpleNamespace()),
        (trained('a'), data()),
    ],
)
def test_equal_or_unknown_classes_pass(checkpoint, dataset):
    check_classes(checkpoint, 'm.pth', dataset, ())
