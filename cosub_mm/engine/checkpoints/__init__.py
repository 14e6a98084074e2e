"""Look into checkpoints before hours are spent on them.

mmengine loads what fits and mentions the rest in a warning, so weights of another architecture or
under another prefix train from scratch unnoticed. Here they are errors.
"""

from .acceptance import ACCEPTABLE, NotAccepted, accepted, add_accept_argument, stop_unless
from .choose import (
    AVERAGED,
    RAW,
    UNKNOWN,
    Weights,
    add_weights_arguments,
    choose_weights,
    find_weights,
    validated_kind,
    wanted_kind,
)
from .classes import check_classes
from .compare import check_start_model, check_tested_model
from .files import CheckpointError, CheckpointMissing, latest_checkpoint, load_checkpoint
from .integrity import DamagedCheckpoint, verify_checksums
from .last_good import last_good_checkpoint
from .match import Match, match_weights
from .recorded import ema_hooks, parse_config, recorded_config
from .start import check_pretrained, paths_of_kept_heads, start_paths
from .trust import UntrustedCheckpoint, add_trust_argument, register_loaders, trusting
from .whole import check_resume, check_weights

__all__ = [
    'ACCEPTABLE',
    'AVERAGED',
    'RAW',
    'UNKNOWN',
    'CheckpointError',
    'CheckpointMissing',
    'DamagedCheckpoint',
    'Match',
    'NotAccepted',
    'UntrustedCheckpoint',
    'Weights',
    'accepted',
    'add_accept_argument',
    'add_trust_argument',
    'add_weights_arguments',
    'check_classes',
    'check_pretrained',
    'check_resume',
    'check_start_model',
    'check_tested_model',
    'check_weights',
    'choose_weights',
    'ema_hooks',
    'find_weights',
    'last_good_checkpoint',
    'latest_checkpoint',
    'load_checkpoint',
    'match_weights',
    'parse_config',
    'paths_of_kept_heads',
    'recorded_config',
    'register_loaders',
    'start_paths',
    'stop_unless',
    'trusting',
    'validated_kind',
    'verify_checksums',
    'wanted_kind',
]
