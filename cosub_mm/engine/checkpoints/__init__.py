"""Look into checkpoints before hours are spent on them.

mmengine loads what fits and mentions the rest in a warning, so weights of another architecture or
under another prefix train from scratch unnoticed. Here they are errors.
"""

from .files import CheckpointError, CheckpointMissing, latest_checkpoint, load_checkpoint
from .match import Match, match_weights
from .start import check_pretrained
from .whole import check_resume, check_weights

__all__ = [
    'CheckpointError',
    'CheckpointMissing',
    'Match',
    'check_pretrained',
    'check_resume',
    'check_weights',
    'latest_checkpoint',
    'load_checkpoint',
    'match_weights',
]
