from .cosub import CosubClassifier
from .supervised import SupervisedClassifier

__all__ = ['CosubClassifier', 'SupervisedClassifier']
