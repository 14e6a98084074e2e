"""``--cfg-options`` on any config: what is accepted changes what it names and nothing else."""

from copy import deepcopy

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from mmengine.config import Config

from cosub_mm.launch.arguments import train_arguments
from cosub_mm.launch.option_merge import check_options, merge_options

KEYS = st.sampled_from(
    ['optimizer', 'backbone', 'drop_path_rate', 'batch_size', 'transforms', 'weight_decay']
)
LEAVES = st.one_of(st.integers(), st.booleans(), st.none(), st.sampled_from(['bce', 'AdamW']))
TREES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.dictionaries(KEYS, inner, min_size=1, max_size=3),
        st.lists(inner, min_size=1, max_size=3),
        st.tuples(inner, inner),
    ),
    max_leaves=8,
)
CONFIGS = st.dictionaries(
    st.sampled_from(['model', 'optim_wrapper', 'train_dataloader']),
    st.dictionaries(KEYS, TREES, min_size=1, max_size=4),
    min_size=1,
)


def leaves(node: object, path: tuple = ()) -> dict[tuple, object]:
    """What stands at the end of each path."""
    items = enumerate(node) if isinstance(node, list | tuple) else None
    items = node.items() if isinstance(node, dict) else items
    if items is None:
        return {path: node}
    return {k: v for key, value in items for k, v in leaves(value, (*path, str(key))).items()}


@given(CONFIGS, st.data())
def test_an_override_changes_the_leaf_that_it_names(content, data):
    before = leaves(content)
    path = data.draw(st.sampled_from(sorted(before)))
    cfg = Config(deepcopy(content))
    merge_options(cfg, {'.'.join(path): 'new'})
    assert leaves(cfg.to_dict()) == {**before, path: 'new'}


@given(CONFIGS, st.data())
def test_a_part_with_a_letter_too_many_is_refused(content, data):
    paths = [path for path in leaves(content) if len(path) > 1]
    path = list(data.draw(st.sampled_from(sorted(paths))))
    named = [i for i, part in enumerate(path[:-1]) if not part.isdecimal()]
    place = data.draw(st.sampled_from(named))
    at = data.draw(st.integers(1, len(path[place])))
    path[place] = path[place][:at] + 'x' + path[place][at:]
    with pytest.raises(ValueError, match=f"there is no '{path[place]}'.*Did you mean"):
        check_options(Config(content), {'.'.join(path): 1})


@given(CONFIGS, st.lists(st.text(max_size=5) | KEYS | st.just('model'), min_size=1, max_size=4))
@example({'model': {'backbone': [{'batch_size': 1}]}}, ['model', 'backbone', '²', 'batch_size'])
@example({'model': {'backbone': [1]}}, ['model', 'backbone', '9' * 5000, 'batch_size'])
def test_any_other_path_is_accepted_or_refused_by_name(content, parts):
    path = '.'.join(parts)
    cfg = Config(deepcopy(content))
    try:
        merge_options(cfg, {path: 1})
        assert leaves(cfg.to_dict())[tuple(path.split('.'))] == 1
    except ValueError as error:
        assert str(error).startswith(f'--cfg-options {path}: there is no ')


@given(CONFIGS, st.data())
def test_a_dict_changes_its_own_keys_inside_lists_too(content, data):
    before = leaves(content)
    path = data.draw(st.sampled_from(sorted(path for path in before if len(path) > 1)))
    if path[-1].isdecimal():
        return
    cfg = Config(deepcopy(content))
    merge_options(cfg, {'.'.join(path[:-1]): {path[-1]: 'new'}})
    assert leaves(cfg.to_dict()) == {**before, path: 'new'}


VALUES = st.one_of(
    st.integers(-(10**9), 10**9),
    st.floats(allow_nan=False, allow_infinity=False),
    st.booleans(),
    st.text('abcxyz_-', min_size=1).filter(lambda text: text.lower() not in ('true', 'false')),
)


@given(VALUES | st.lists(st.integers(-99, 99), min_size=1, max_size=4))
def test_a_value_is_read_as_it_is_written(value):
    text = str(value).replace(' ', '')
    args = train_arguments(['config.py', '--cfg-options', f'model.value={text}'])
    read = args.cfg_options['model.value']
    assert type(read) is type(value) and read == value
