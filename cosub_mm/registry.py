"""Lazy registration in the registries of mmengine, mmpretrain and mmseg.

Importing mmpretrain's models costs half a second and mmseg's as much again. A registry of mmengine
imports its *locations* at the first lookup, so our modules become one more location; and the
registries themselves are extended when somebody loads them. Whoever only needs ``cosub_mm.losses``
or ``cosub_mm.stochastic_depth`` never pays for the rest.
"""

from importlib import import_module

from .after_import import after_import

__all__ = ['register_everything', 'register_lazily']

ENGINE = (
    'FUNCTIONS',
    'HOOKS',
    'LOOPS',
    'MODEL_WRAPPERS',
    'OPTIMIZERS',
    'OPTIM_WRAPPERS',
    'OPTIM_WRAPPER_CONSTRUCTORS',
    'PARAM_SCHEDULERS',
    'RUNNERS',
)
"""Registries that :mod:`cosub_mm.engine` adds to."""


def register_everything() -> None:
    """Make all classes of the package known, and its models to ``mmpretrain.get_model``.

    mmengine's registries come first: mmpretrain's and mmseg's look into them without asking
    for their locations, so that the engine is complete as soon as anything can run.
    """
    for package in ('mmpretrain', 'mmseg'):
        after_import(package, lambda: None)  # says so if it is broken
    after_import('mmengine.registry', _extend_mmengine)
    after_import('mmengine.runner', _complete_engine)
    after_import('mmpretrain.registry', _extend_mmpretrain)
    after_import('mmpretrain.apis.model', _extend_model_hub)
    after_import('mmseg.registry', _extend_mmseg)
    after_import('mmseg.apis.mmseg_inferencer', _extend_inferencer)


def _extend_mmengine() -> None:
    from mmengine import registry as registries

    for name in ENGINE:
        register_lazily(getattr(registries, name), 'cosub_mm.engine')


def _complete_engine() -> None:
    import_module('cosub_mm.engine')
    from .engine.checkpoints import register_loaders

    register_loaders()


def _extend_mmpretrain() -> None:
    from mmpretrain import registry as registries

    register_lazily(registries.MODELS, 'cosub_mm.models')
    for registry in (registries.DATASETS, registries.TRANSFORMS, registries.DATA_SAMPLERS):
        register_lazily(registry, 'cosub_mm.datasets')
    for registry in (registries.METRICS, registries.EVALUATORS):
        register_lazily(registry, 'cosub_mm.evaluation')
    for name in ENGINE:
        if hasattr(registries, name):
            register_lazily(getattr(registries, name), 'cosub_mm.engine')
    register_lazily(registries.HOOKS, 'cosub_mm.engine.hooks.in_mmpretrain')


def _extend_model_hub() -> None:
    from .model_hub import register_models

    register_models()


def _extend_inferencer() -> None:
    from .model_hub import register_segmentors

    register_segmentors()


def _extend_mmseg() -> None:
    from mmseg import registry as registries

    register_lazily(registries.MODELS, 'cosub_mm.models.segmentors')
    register_lazily(registries.DATASETS, 'cosub_mm.datasets')
    register_lazily(registries.TRANSFORMS, 'cosub_mm.datasets')
    register_lazily(registries.METRICS, 'cosub_mm.evaluation.iou')
    for name in ENGINE:
        if hasattr(registries, name):
            register_lazily(getattr(registries, name), 'cosub_mm.engine')


def register_lazily(registry: object, module: str) -> None:
    """Import ``module`` when ``registry`` is first asked for a class.

    Args:
        registry: a registry of mmengine, mmpretrain or mmseg whose classes ``module`` adds to.
        module: dotted name of the module; importing it registers its classes.

    A registry that has already imported its locations never looks at them again, and a registry
    without the two attributes (another mmengine) has no locations: both import ``module`` at once.
    """
    locations = getattr(registry, '_locations', None)
    if locations is None or getattr(registry, '_imported', True):
        import_module(module)
    elif module not in locations:
        locations.append(module)
