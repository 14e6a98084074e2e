"""``mmpretrain.EfficientDropPathHook``, as configs of other scopes name it.

Imported at the first look into mmpretrain's ``HOOKS``, so that the engine works without mmpretrain.
"""

from mmpretrain.registry import HOOKS

from .efficient_drop_path_hook import EfficientDropPathHook

HOOKS.register_module(module=EfficientDropPathHook)
