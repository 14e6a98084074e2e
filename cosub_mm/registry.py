"""Lazy registration in the registries of mmpretrain and mmseg.

Importing mmpretrain's models costs half a second and mmseg's as much again. A registry of mmengine
imports its *locations* at the first lookup, so our modules become one more location: whoever only
needs ``cosub_mm.stochastic_depth`` never pays for the rest.
"""

from importlib import import_module

from mmengine.registry import Registry

__all__ = ['register_lazily']


def register_lazily(registry: Registry, module: str) -> None:
    """Import ``module`` when ``registry`` is first asked for a class.

    Args:
        registry: a registry of mmpretrain or mmseg whose classes ``module`` adds to.
        module: dotted name of the module; importing it registers its classes.

    A registry that has already imported its locations never looks at them again, and a registry
    without the two attributes (another mmengine) has no locations: both import ``module`` at once.
    """
    locations = getattr(registry, '_locations', None)
    if locations is None or getattr(registry, '_imported', True):
        import_module(module)
    elif module not in locations:
        locations.append(module)
