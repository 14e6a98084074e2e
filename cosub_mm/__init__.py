"""CoSub-MM: submodel co-training and efficient stochastic depth for the OpenMMLab stack.

``import cosub_mm`` makes every class of the package known to the registries of mmpretrain, mmseg
and mmengine. It does not load them: see :mod:`cosub_mm.registry`.
"""

from importlib.util import find_spec

import mmpretrain.registry as _mmpretrain

from . import engine  # noqa: F401  (registers hooks and optimizer constructors)
from .model_hub import register_models
from .registry import register_lazily
from .version import __version__

__all__ = ['__version__']

register_lazily(_mmpretrain.MODELS, 'cosub_mm.models')
for _registry in (_mmpretrain.DATASETS, _mmpretrain.TRANSFORMS, _mmpretrain.DATA_SAMPLERS):
    register_lazily(_registry, 'cosub_mm.datasets')
for _registry in (_mmpretrain.METRICS, _mmpretrain.EVALUATORS):
    register_lazily(_registry, 'cosub_mm.evaluation')

# Segmentation is optional for people who only classify.
if find_spec('mmseg') is not None:
    import mmseg.registry as _mmseg

    register_lazily(_mmseg.MODELS, 'cosub_mm.models.segmentors')
    register_lazily(_mmseg.DATASETS, 'cosub_mm.datasets')

register_models()
