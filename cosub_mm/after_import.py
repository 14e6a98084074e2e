"""Do something when a module is imported, and nothing until then.

``import cosub_mm`` adds to the registries of mmengine, mmpretrain and mmseg. Loading those for it
would cost seconds in every program that needs a loss alone, and would fail with a broken
mmpretrain; so it is done when somebody else loads them.
"""

import sys
import warnings
from collections.abc import Callable
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import ModuleType

__all__ = ['after_import']

_waiting: dict[str, Callable[[], None]] = {}
_said: set[str] = set()


def after_import(name: str, action: Callable[[], None]) -> None:
    """Call ``action`` once: now if the module ``name`` is loaded, else right after its import.

    Where the import fails, a warning says what is missing by that, and the error goes on.

    Args:
        name: dotted name of a module; it need not be installed.
        action: takes nothing; its errors reach the one who imports.
    """
    if sys.modules.get(name) is not None:
        action()
        return
    _waiting[name] = action
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())


class _Finder(MetaPathFinder):
    """Leaves the search to the others and wraps the loader of what they find."""

    def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        action = _waiting.pop(name, None)  # the search below comes here again, and goes on
        if action is None:
            return None
        try:
            spec = find_spec(name)
        except ImportError as error:  # some other finder refuses it
            _waiting[name] = action
            if not isinstance(error, ModuleNotFoundError):
                _warn(name, error)
            raise
        if spec is None or spec.loader is None:
            _waiting[name] = action
            return spec
        loader = spec.loader
        load = loader.exec_module

        def exec_module(module: ModuleType) -> None:
            vars(loader).pop('exec_module')  # a zip file has one loader for all its modules
            try:
                load(module)
            except Exception as error:
                _waiting[name] = action
                _warn(name, error)
                raise
            action()

        loader.exec_module = exec_module
        return spec


def _warn(name: str, error: Exception) -> None:
    """Say once for a package that it is broken, and what works all the same."""
    package = name.partition('.')[0]
    if package not in _said:
        _said.add(package)
        warnings.warn(
            f'cosub_mm: {package} is installed and cannot be imported ({type(error).__name__}: '
            f'{error}), so that cosub_mm adds nothing to it. cosub_mm.losses and '
            f'cosub_mm.stochastic_depth work without.',
            stacklevel=2,
        )
