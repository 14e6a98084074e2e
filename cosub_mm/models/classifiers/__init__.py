from .cosub import CosubClassifier
from .cotraining import CoTrainingClassifier
from .distilled import DistilledClassifier
from .masksub import MaskSubClassifier
from .mean_teacher import MeanTeacherClassifier
from .preprocessor import CosubClsDataPreprocessor
from .supervised import SupervisedClassifier

__all__ = [
    'CoTrainingClassifier',
    'CosubClassifier',
    'CosubClsDataPreprocessor',
    'DistilledClassifier',
    'MaskSubClassifier',
    'MeanTeacherClassifier',
    'SupervisedClassifier',
]
