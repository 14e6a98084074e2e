"""A script that imports a module by its old name runs, and is told the new one."""

import sys
from importlib import import_module

import pytest

from cosub_mm.moved import MOVED


@pytest.mark.parametrize('old', MOVED)
def test_the_old_name_is_the_same_module(old, monkeypatch):
    monkeypatch.delitem(sys.modules, old, raising=False)
    with pytest.warns(FutureWarning, match=f'{old} is {MOVED[old]} now'):
        found = import_module(old)
    assert found is import_module(MOVED[old])
    monkeypatch.delitem(sys.modules, old)


def test_a_name_that_never_was_is_no_module():
    with pytest.raises(ModuleNotFoundError, match=r'cosub_mm\.engine\.no_such'):
        import_module('cosub_mm.engine.no_such')


def test_the_data_set_is_found_where_it_was():
    from cosub_mm.datasets import CosubImageNet21k as known
    from cosub_mm.datasets.imagenet21k import CosubImageNet21k

    assert CosubImageNet21k is known
