"""A row of the soak's table."""

from dataclasses import dataclass

from .campaign import Start

__all__ = ['Promise', 'name', 'tail']


@dataclass(frozen=True)
class Promise:
    """What is promised, what was measured, and in ``faults`` where it was broken.

    ``tried`` is False where nothing happened that could have broken it.
    """

    text: str
    measured: str
    faults: tuple[str, ...] = ()
    tried: bool = True

    @property
    def kept(self) -> bool:
        """Whether it was."""
        return not self.faults


def name(start: Start) -> str:
    """What a start is called."""
    return f'start {start.job.number}'


def tail(start: Start) -> str:
    """The end of what a start has printed."""
    return ' / '.join(start.job.output.strip().splitlines()[-3:])[-300:]
