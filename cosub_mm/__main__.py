"""``python -m cosub_mm train CONFIG``: see :mod:`cosub_mm.commands`."""

from .commands import main

if __name__ == '__main__':
    main()
