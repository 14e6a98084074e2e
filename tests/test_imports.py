"""Three parts, each of which imports from those above it alone; see docs/architecture.md."""

import ast
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
APPLICATION = {'', '__main__', 'analysis', 'checks', 'commands', 'demo', 'launch', 'registry'}
LIBRARY = {'stochastic_depth', 'losses', 'timm'}
LIBRARY |= {
    'after_import',
    'installation',
    'moved',
    'processes',
    'safe_files',
    'version',
    'whole_files',
}
OUTSIDE = {'torch', 'timm', 'cosub_mm', *sys.stdlib_module_names}


def module_of(path: Path, root: Path) -> str:
    parts = path.relative_to(root).with_suffix('').parts
    return '.'.join(parts[:-1] if parts[-1] == '__init__' else parts)


def imports(root: Path) -> dict[str, set[str]]:
    """Module -> what it imports, also inside functions; of the package the very module."""
    files = {module_of(path, root): path for path in (root / 'cosub_mm').rglob('*.py')}
    found = {}
    for module, path in files.items():
        package = module if path.name == '__init__.py' else module.rpartition('.')[0]
        names = set()
        for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
            if isinstance(node, ast.Import):
                names |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                above = package.rsplit('.', node.level - 1)[0] if node.level else ''
                base = '.'.join(part for part in (above, node.module) if part)
                members = {f'{base}.{alias.name}' for alias in node.names}
                names |= {name if name in files else base for name in members}
        found[module] = names - {module}
    return found


def part_of(module: str) -> int:
    """0: library, 1: toolbox, 2: application, of the package's own modules."""
    name = module.removeprefix('cosub_mm').removeprefix('.').split('.')[0]
    return 2 if name in APPLICATION else 0 if name in LIBRARY else 1


def faults(found: dict[str, set[str]]) -> list[str]:
    """What imports upwards, what the library may not import, and the circles."""
    lines = []
    for module, names in found.items():
        part = part_of(module)
        for name in sorted(names):
            if name.split('.')[0] != 'cosub_mm':
                outside = name.split('.')[0] not in OUTSIDE
                if part == 0 and outside:
                    lines.append(f'{module} is of the library and imports {name}')
            elif part_of(name) > part and name in found:
                lines.append(f'{module} imports {name}, which is above it')
    own = {module: names & found.keys() for module, names in found.items()}
    try:
        list(TopologicalSorter(own).static_order())
    except CycleError as error:
        lines.append(f'a circle: {" -> ".join(error.args[1])}')
    return lines


def test_no_circle_and_nothing_upward():
    found = imports(ROOT)
    assert {part_of(module) for module in found} == {0, 1, 2}
    assert not faults(found)
    rooms = {module.removeprefix('cosub_mm').removeprefix('.').split('.')[0] for module in found}
    assert rooms >= APPLICATION | LIBRARY, 'a name that no module has'


@pytest.mark.parametrize(
    ('files', 'fault'),
    [
        ({'losses/a.py': 'import mmengine.dist'}, 'of the library and imports mmengine.dist'),
        ({'losses/a.py': 'from ..models import b'}, 'cosub_mm.losses.a imports cosub_mm.models.b'),
        (
            {'engine/a.py': 'def f():\n    from ..launch.errors import g', 'launch/errors.py': ''},
            'cosub_mm.engine.a imports cosub_mm.launch.errors, which is above it',
        ),
        ({'models/a.py': 'from . import b', 'models/b.py': 'from .a import x'}, 'a circle: '),
    ],
)
def test_a_fault_is_noticed(tmp_path, files, fault):
    for name, text in {'models/b.py': '', **files}.items():
        (tmp_path / 'cosub_mm' / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / 'cosub_mm' / name).write_text(text)
    (line,) = faults(imports(tmp_path))
    assert fault in line
