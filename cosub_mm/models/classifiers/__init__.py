from .cosub import CosubClassifier
from .cotraining import CoTrainingClassifier
from .distilled import DistilledClassifier
from .masksub import MaskSubClassifier
from .mean_teacher import MeanTeacherClassifier
from .supervised import SupervisedClassifier

__all__ = [
    'CoTrainingClassifier',
    'CosubClassifier',
    'DistilledClassifier',
    'MaskSubClassifier',
    'MeanTeacherClassifier',
    'SupervisedClassifier',
]
