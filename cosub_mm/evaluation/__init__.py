"""Metrics and analyses of trained models."""

from .accuracy import AccuracyBySource

__all__ = ['AccuracyBySource']
