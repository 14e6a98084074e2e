"""Tests test behaviour: they name no private attribute of the package."""

import ast
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
# For these torch, mmengine and the standard library have no public way.
OF_OTHERS = {
    '_BatchNorm',
    '_dynamo',
    '_exit',
    '_forward_hooks',
    '_forward_hooks_always_called',
    '_forward_pre_hooks',
    '_functorch',
    '_hooks',
    '_instance_dict',
    '_metadata',
    '_pytree',
    '_replace',
    '_replicate_for_data_parallel',
}
PATCHES = ('setattr', 'delattr')


def private_names(code: str) -> set[str]:
    """Attributes with one leading underscore, except a class's own; imported and patched ones."""
    found = set()
    for node in ast.walk(ast.parse(code)):
        names = []
        if isinstance(node, ast.Attribute):
            own = isinstance(node.value, ast.Name) and node.value.id in ('self', 'cls')
            names = [] if own else [node.attr]
        elif isinstance(node, ast.ImportFrom):
            # A module that torch calls private may hold what its documents name.
            inside = (node.module or '').startswith(('cosub_mm', 'tests', 'tools'))
            names = [alias.name for alias in node.names] if inside else []
        elif isinstance(node, ast.Call) and getattr(node.func, 'attr', '') in PATCHES:
            texts = [a.value for a in node.args[:2] if isinstance(a, ast.Constant)]
            names = [str(text).rpartition('.')[2] for text in texts]
        found |= {name for name in names if name.startswith('_') and not name.startswith('__')}
    return found - OF_OTHERS


def test_no_test_names_a_private_attribute():
    found = {
        str(path.relative_to(TESTS)): names
        for path in TESTS.rglob('*.py')
        if (names := private_names(path.read_text(encoding='utf-8')))
    }
    assert not found


@pytest.mark.parametrize(
    'code',
    [
        'model._submodels(x)',
        'from cosub_mm.losses.images import _teacher',
        "monkeypatch.setattr(demo, '_read', f)",
        "monkeypatch.setattr('cosub_mm.launch.run._checked', f)",
    ],
)
def test_a_private_name_is_noticed(code):
    assert len(private_names(code)) == 1
    assert not private_names(code.replace('._', '.').replace(' _', ' ').replace("'_", "'"))
