"""CoSub-MM: submodel co-training and efficient stochastic depth for the OpenMMLab stack.

``import cosub_mm`` makes every class of the package known to the registries of mmpretrain, mmseg
and mmengine. It does not load them: see :mod:`cosub_mm.registry`. Without mmpretrain there is
:mod:`cosub_mm.stochastic_depth`, which needs torch only.
"""

from importlib.util import find_spec

from .version import __version__

__all__ = ['__version__']

if find_spec('mmpretrain') is not None:
    from .installation import warn_of_conflicts
    from .registry import register_everything

    warn_of_conflicts()
    register_everything()
