"""CoSub-MM: submodel co-training and efficient stochastic depth for the OpenMMLab stack.

``import cosub_mm`` makes every class of the package known to the registries of mmpretrain, mmseg
and mmengine. It loads neither the classes nor the registries: see :mod:`cosub_mm.registry`. Without
them there are :mod:`cosub_mm.stochastic_depth` and :mod:`cosub_mm.losses`, which need torch only.
"""

from .installation import warn_of_conflicts
from .moved import know_old_names
from .registry import register_everything
from .version import __version__

__all__ = ['__version__']

warn_of_conflicts()
know_old_names()
register_everything()
