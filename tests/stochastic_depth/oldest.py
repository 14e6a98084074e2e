"""What the oldest versions that setup.py allows cannot, as marks of tests (``make oldest``)."""

import pytest
import timm
import torch


def _below(version: str, least: tuple[int, ...]) -> bool:
    parts = version.partition('+')[0].split('.')
    return tuple(int(part) for part in parts[: len(least)] if part.isdigit()) < least


# 2.6 and 2.11 were tried, 1.0.22 and 1.0.31; what lies between was not.
OLD_TORCH = _below(torch.__version__, (2, 11))
OLD_TIMM = _below(timm.__version__, (1, 0, 31))


def not_in_old_torch(reason: str) -> pytest.MarkDecorator:
    """Skips a test below torch 2.11."""
    return pytest.mark.skipif(OLD_TORCH, reason=f'torch {torch.__version__} {reason}')


def not_in_old_timm(reason: str) -> pytest.MarkDecorator:
    """Skips a test below timm 1.0.31."""
    return pytest.mark.skipif(OLD_TIMM, reason=f'timm {timm.__version__} {reason}')
