"""What a safe data file is, decided in one place: lists and archives come from strangers."""

from .archives import SafeTarInfo, mat_problem, open_zip, pickle_problem, read_member
from .files import (
    MAX_IMAGE,
    MAX_INDEX,
    MAX_LIST,
    UnsafeFileError,
    name_problem,
    open_regular,
    path_below,
    read_bytes,
    read_json,
    read_lines,
    read_text,
    regular_names,
    shown,
)

__all__ = [
    'MAX_IMAGE',
    'MAX_INDEX',
    'MAX_LIST',
    'SafeTarInfo',
    'UnsafeFileError',
    'mat_problem',
    'name_problem',
    'open_regular',
    'open_zip',
    'path_below',
    'pickle_problem',
    'read_bytes',
    'read_json',
    'read_lines',
    'read_member',
    'read_text',
    'regular_names',
    'shown',
]
