from .lamb import CosubLamb
from .layer_decay import LayerDecayOptimWrapperConstructor
from .param_groups import MergedGroupsOptimWrapperConstructor

__all__ = [
    'CosubLamb',
    'LayerDecayOptimWrapperConstructor',
    'MergedGroupsOptimWrapperConstructor',
]
