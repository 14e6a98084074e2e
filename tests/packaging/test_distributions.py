"""Wheel and source distribution: built, installed where no checkout is in sight, and used.

The environments are fresh; what the package depends on is lent to them by a path, as installing
6 GB twice would test pip.
"""

import os
import subprocess
import sys
import sysconfig
import venv
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.packaging

USE = """
import sys
import cosub_mm, mmpretrain, torch
from cosub_mm.model_hub import index_root
from cosub_mm.stochastic_depth import apply_stochastic_depth
assert str(index_root()).startswith(sys.prefix), index_root()
torch.set_default_device('meta')
assert type(mmpretrain.get_model('supervised_vit-s_in1k')).__name__ == 'SupervisedClassifier'
assert index_root().joinpath('tools/dist_train.sh').stat().st_mode & 0o100
"""

TRAIN = """
import sys, torch
from torch import nn
from cosub_mm.stochastic_depth import Branch, apply_stochastic_depth, register_block
class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.mix, self.drop_path = nn.Linear(4, 4), nn.Identity()
    def forward(self, x):
        return x + self.drop_path(self.mix(x))
register_block(Block, Branch('mix', 'drop_path'))
model = nn.Sequential(Block(), Block()).train()
print(apply_stochastic_depth(model, 0.5))
model(torch.randn(8, 4)).sum().backward()
assert all(p.grad is not None for p in model.parameters())
assert not {'mmengine', 'mmcv', 'timm', 'torchvision'} & set(sys.modules)
"""

WRONG_TYPE = """
from torch import nn
from cosub_mm.stochastic_depth import apply_stochastic_depth
apply_stochastic_depth(nn.Linear(1, 1), schedule=3)
"""


@pytest.fixture(scope='module')
def distributions(tmp_path_factory) -> dict[str, Path]:
    """A wheel made from the source distribution, as an index would have both."""
    out = tmp_path_factory.mktemp('dist')
    source = tmp_path_factory.mktemp('source') / 'tree'
    files = subprocess.run(
        ['git', 'ls-files', '-co', '--exclude-standard'],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout.split('\n')  # fmt: skip
    for name in filter(None, files):
        target = source / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes((ROOT / name).read_bytes())
        target.chmod((ROOT / name).stat().st_mode)
    build = [sys.executable, '-m', 'build', '--no-isolation', '--outdir', str(out), str(source)]
    done = subprocess.run(build, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return {'wheel': next(out.glob('*.whl')), 'sdist': next(out.glob('*.tar.gz'))}


def needs_of(name: str, seen: set[str]) -> set[str]:
    """Names of a distribution and of all that it needs here, as metadata give them."""
    name = canonicalize_name(name)
    if name in seen:
        return seen
    seen.add(name)
    for line in metadata.requires(name) or []:
        need = Requirement(line)
        if need.marker is None or need.marker.evaluate({'extra': ''}):
            needs_of(need.name, seen)
    return seen


@pytest.fixture
def torch_alone(distributions, tmp_path) -> Path:
    """A new environment that is lent torch and what torch needs, nothing else."""
    lent = tmp_path / 'lent'
    lent.mkdir()
    site = Path(sysconfig.get_path('purelib'))
    for name in needs_of('torch', set()):
        tops = {Path(file).parts[0] for file in metadata.files(name) or []}
        for top in tops - {'..', '__pycache__'}:
            if not (lent / top).exists() and (site / top).exists():
                (lent / top).symlink_to(site / top)
    return new_environment(tmp_path / 'env', lent, distributions['wheel'])


def new_environment(home: Path, lent: Path, distribution: Path) -> Path:
    venv.create(home, with_pip=True)
    base = {'base': str(home), 'platbase': str(home)}
    site = Path(sysconfig.get_path('purelib', vars=base))
    (site / 'lent.pth').write_text(f'{lent}\n')
    install = ['-m', 'pip', 'install', '-q', '--no-deps', '--no-build-isolation']
    call(home, *install, str(distribution), cwd=home)
    return home


@pytest.fixture(params=['wheel', 'sdist'])
def environment(request, distributions, tmp_path) -> Path:
    """A new environment with the distribution in it."""
    lent = Path(sysconfig.get_path('purelib'))
    return new_environment(tmp_path / 'env', lent, distributions[request.param])


def call(home: Path, *arguments: str, cwd: Path, expect: int = 0) -> str:
    env = {k: v for k, v in os.environ.items() if k not in ('PYTHONPATH', 'VIRTUAL_ENV')}
    command = [str(home / 'bin' / 'python'), '-W', 'ignore', *arguments]
    done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True)
    output = done.stdout + done.stderr
    assert done.returncode == expect, output[-3000:]
    return output


def test_what_is_installed_works_without_a_checkout(environment, tmp_path):
    call(environment, '-c', USE, cwd=tmp_path)
    script = environment / 'bin' / 'cosub-train'
    output = call(environment, str(script), 'configs/cosub/vit-b_in1k.py', cwd=tmp_path, expect=2)
    assert 'error: while checking the data' in output
    output = call(environment, str(environment / 'bin' / 'cosub-publish'), '-h', cwd=tmp_path)
    assert 'usage: publish_model.py' in output


def test_the_library_trains_where_torch_alone_is_installed(torch_alone, tmp_path):
    output = call(torch_alone, '-c', TRAIN, cwd=tmp_path)
    assert 'drop' in output


def test_types_are_shipped(environment, tmp_path):
    (tmp_path / 'script.py').write_text(WRONG_TYPE)
    checker = [str(Path(sys.executable).with_name('python')), '-m', 'mypy']
    done = subprocess.run(
        [*checker, '--python-executable', str(environment / 'bin' / 'python'),
         '--ignore-missing-imports', '--follow-imports', 'silent', 'script.py'],
        cwd=tmp_path, capture_output=True, text=True,
    )  # fmt: skip
    assert 'Argument "schedule"' in done.stdout, done.stdout + done.stderr
