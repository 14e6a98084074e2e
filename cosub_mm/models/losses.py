"""Old name of :mod:`cosub_mm.losses`, which is importable where torch alone is installed."""

from cosub_mm.losses import *  # noqa: F403
from cosub_mm.losses import __all__  # noqa: F401
