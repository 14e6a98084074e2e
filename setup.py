"""Package set-up. Lower bounds only: the tested set of versions is requirements/constraints.txt."""

import shutil
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).parent
VERSION = {}
exec((ROOT / 'cosub_mm' / 'version.py').read_text(), VERSION)
# Each is a function of cosub_mm/commands.py; importing it would need what is to be installed.
COMMANDS = (
    'train',
    'test',
    'verify_dataset',
    'prepare_imagenet21k',
    'convert',
    'publish',
    'export_onnx',
)


def requirements(name: str) -> list[str]:
    """Requirements of one file, with the files that it includes."""
    lines = []
    for line in (ROOT / 'requirements' / f'{name}.txt').read_text().splitlines():
        if line.startswith('-r '):
            lines += requirements(line[3:].removesuffix('.txt'))
        elif line and not line.startswith('#'):
            lines.append(line)
    return lines


class BuildWithConfigs(build_py):
    """Ship configs, tools and the model index, as mim and ``mmpretrain.get_model`` look for them.

    They go into ``cosub_mm/.mim`` of the built package; the source tree stays as it is.
    """

    def run(self) -> None:
        super().run()
        if self.editable_mode:
            return
        target = Path(self.build_lib) / 'cosub_mm' / '.mim'
        shutil.rmtree(target, ignore_errors=True)
        ignore = shutil.ignore_patterns('__pycache__', '*.pyc')
        for folder in ('configs', 'tools'):
            shutil.copytree(ROOT / folder, target / folder, ignore=ignore)
        shutil.copy(ROOT / 'model-index.yml', target)


setup(
    name='cosub-mm',
    version=VERSION['__version__'],
    description='Submodel co-training and efficient stochastic depth for the OpenMMLab stack',
    long_description=(ROOT / 'README.md').read_text(encoding='utf-8'),
    long_description_content_type='text/markdown',
    license='Apache-2.0',
    license_files=['LICENSE'],
    keywords='stochastic depth, drop path, co-training, vision backbones, OpenMMLab, timm',
    classifiers=[
        'Development Status :: 4 - Beta',
        'Intended Audience :: Science/Research',
        'Operating System :: POSIX :: Linux',
        'Programming Language :: Python :: 3 :: Only',
        'Programming Language :: Python :: 3.11',
        'Programming Language :: Python :: 3.12',
        'Programming Language :: Python :: 3.13',
        'Topic :: Scientific/Engineering :: Artificial Intelligence',
        'Topic :: Scientific/Engineering :: Image Recognition',
        'Typing :: Typed',
    ],
    project_urls={'Paper': 'https://arxiv.org/abs/2212.04884'},
    python_requires='>=3.11',
    packages=find_packages(include=['cosub_mm', 'cosub_mm.*']),
    package_data={'cosub_mm': ['py.typed', '**/*.json', '**/*.yml', '**/*.txt']},
    install_requires=requirements('runtime'),
    entry_points={
        'console_scripts': [
            f'cosub-{name.replace("_", "-")} = cosub_mm.commands:{name}' for name in COMMANDS
        ]
    },
    extras_require={name: requirements(name) for name in ('coverage', 'demo', 'tests', 'docs')},
    cmdclass={'build_py': BuildWithConfigs},
    zip_safe=False,
)
