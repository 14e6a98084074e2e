"""Notice a checkpoint that was damaged on its way: a flipped bit, zeros, a missing end.

``torch.save`` writes a zip file with a checksum (CRC-32) of each tensor; ``torch.load`` does not
look at them, so that a flipped bit becomes a weight. Nothing has to be stored beside the file.
"""

import os
import struct
import zipfile
import zlib
from concurrent.futures import ThreadPoolExecutor
from functools import partial

__all__ = ['DamagedCheckpoint', 'verify_checksums']

# Bytes at a time (they stay in the processor's cache), and the fixed part of the header before each
# record of a zip file.
CHUNK = 1 << 18
HEADER = 30


class DamagedCheckpoint(ValueError):
    """The contents of a file are not those that were written."""


def verify_checksums(path: str | os.PathLike) -> int:
    """Read a checkpoint once and compare every record with its checksum.

    Reading and checksums run in a few threads, without Python's lock.

    Args:
        path: a local file; one of torch's format before zip (1.6) has no checksums.

    Returns:
        The number of records compared; 0 without checksums.

    Raises:
        DamagedCheckpoint: naming the records that differ.
    """
    path = os.path.expanduser(path)
    if not zipfile.is_zipfile(path):
        return 0
    try:
        with zipfile.ZipFile(path) as archive:
            records = archive.infolist()
    except zipfile.BadZipFile as error:
        raise DamagedCheckpoint(f"checkpoint '{path}' is damaged: {error}.") from error
    handle = os.open(path, os.O_RDONLY)
    try:
        with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
            intact = list(pool.map(partial(_is_intact, handle), records))
    finally:
        os.close(handle)
    damaged = [record.filename for record, good in zip(records, intact) if not good]
    if damaged:
        more = ', ...' if len(damaged) > 3 else ''
        raise DamagedCheckpoint(
            f"checkpoint '{path}' is damaged: {len(damaged)} of {len(records)} records do not have "
            f'the checksum they were written with ({", ".join(damaged[:3])}{more}). Copy or '
            'download it again, or take another checkpoint.'
        )
    return len(records)


def _is_intact(handle: int, record: zipfile.ZipInfo) -> bool:
    header = os.pread(handle, HEADER, record.header_offset)
    if len(header) < HEADER or record.compress_type != zipfile.ZIP_STORED:
        return False
    name, extra = struct.unpack('<HH', header[26:])
    at = record.header_offset + HEADER + name + extra
    end, checksum = at + record.file_size, 0
    while at < end:
        content = os.pread(handle, min(CHUNK, end - at), at)
        if not content:
            return False
        checksum, at = zlib.crc32(content, checksum), at + len(content)
    return checksum == record.CRC
