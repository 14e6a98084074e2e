"""Lazy registration in the registries of mmpretrain and mmseg.

Importing mmpretrain's models costs half a second and mmseg's as much again. A registry of mmengine
imports its *locations* at the first lookup, so our modules become one more location: whoever only
needs ``cosub_mm.stochastic_depth`` never pays for the rest.
"""

from importlib import import_module
from importlib.util import find_spec

from mmengine.registry import Registry
from mmpretrain import registry as registries

__all__ = ['register_everything', 'register_lazily']


def register_everything() -> None:
    """Make all classes of the package known, and its models to ``mmpretrain.get_model``."""
    from . import engine  # noqa: F401  (registers hooks and optimizer constructors)
    from .engine.checkpoints import register_loaders
    from .model_hub import register_models

    register_loaders()

    register_lazily(registries.MODELS, 'cosub_mm.models')
    for registry in (registries.DATASETS, registries.TRANSFORMS, registries.DATA_SAMPLERS):
        register_lazily(registry, 'cosub_mm.datasets')
    for registry in (registries.METRICS, registries.EVALUATORS):
        register_lazily(registry, 'cosub_mm.evaluation')
    if find_spec('mmseg') is not None:  # optional for people who only classify
        from mmseg.registry import DATASETS, METRICS, MODELS, TRANSFORMS

        register_lazily(MODELS, 'cosub_mm.models.segmentors')
        register_lazily(DATASETS, 'cosub_mm.datasets')
        register_lazily(TRANSFORMS, 'cosub_mm.datasets')
        register_lazily(METRICS, 'cosub_mm.evaluation.iou')
    register_models()


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
