from .cosub import CosubClassifier

__all__ = ['CosubClassifier']
