"""Files that do harm, and a bounded process to read them in."""

import io
import os
import resource
import signal
import struct
import tarfile
import zlib
from collections.abc import Callable
from pathlib import Path

from PIL import Image

SECONDS = 20  # for the machine that is busy; what hangs hangs for ever


def outcome(read: Callable[[], object], memory: int = 768 * 2**20) -> str:
    """The error of a reader that may take so much memory and time; '' for none."""
    source, sink = os.pipe()
    child = os.fork()
    if not child:
        text = 'died'
        try:
            with open('/proc/self/statm') as file:
                pages = int(file.read().split()[0])
            limit = pages * resource.getpagesize() + memory
            resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.alarm(SECONDS)
            read()
            text = ''
        except SystemExit as error:
            text = f'exit {error}'
        except BaseException as error:
            text = f'{type(error).__name__}: {error}'
        finally:
            os.write(sink, text.encode('utf-8', 'replace')[:4000])
            os._exit(0)
    os.close(sink)
    with os.fdopen(source, 'rb') as file:
        text = file.read().decode()
    _, status = os.waitpid(child, 0)
    assert status == 0, f'the reader was ended by signal {status}: it hung'
    return text


def png(size=(8, 8), mode='RGB') -> bytes:
    file = io.BytesIO()
    Image.new(mode, size).save(file, 'PNG')
    return file.getvalue()


def bomb(width: int, height: int) -> bytes:
    """A small file that unpacks to a grey picture of any size; it is cut behind its first rows."""
    head = struct.pack('>IIBBBBB', width, height, 8, 0, 0, 0, 0)
    parts = ((b'IHDR', head), (b'IDAT', zlib.compress(bytes(10 * (width + 1)))), (b'IEND', b''))
    content = b'\x89PNG\r\n\x1a\n'
    for kind, data in parts:
        content += struct.pack('>I', len(data)) + kind + data
        content += struct.pack('>I', zlib.crc32(kind + data))
    return content


CONTENTS = {'bomb': bomb(12000, 12000), 'line': png((1, 9)), 'dot': png((1, 1))}


def put(path: Path, kind: str) -> Path:
    """Put something bad in the place of a file."""
    path.unlink(missing_ok=True)
    if kind == 'pipe':
        os.mkfifo(path)
    elif kind == 'device':
        path.symlink_to('/dev/zero')
    elif kind == 'endless':
        with open(path, 'wb') as file:
            file.truncate(2**40)  # sparse: it takes no place on the disk
    elif kind == 'one line':
        with open(path, 'wb') as file:
            file.truncate(2**29)
    else:
        path.write_bytes(CONTENTS[kind])
    return path


def header(kind: bytes, size: int, name: str = 'a.png') -> bytes:
    """A header of a tar file that says any size."""
    info = tarfile.TarInfo(name)
    info.type = kind
    block = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    if 0 <= size < 8**11:
        block[124:136] = b'%011o\0' % size
    else:
        block[124:136] = (b'\xff' if size < 0 else b'\x80') + (size % 256**11).to_bytes(11, 'big')
    block[148:156] = b' ' * 8
    block[148:156] = b'%06o\0 ' % sum(block)
    return bytes(block)
