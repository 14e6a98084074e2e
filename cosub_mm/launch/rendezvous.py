"""Why machines do not find each other, in a sentence."""

import re
from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager

from torch.distributed import DistError

__all__ = ['explain_network_error', 'network_errors']

_OTHER = 'give another port by PORT=N (one machine alone: leave PORT out, and a free one is taken)'


def _in_use(port: object) -> str:
    return f'port {port} of this machine is in use, by another training or a service: {_OTHER}.'


@contextmanager
def network_errors() -> Iterator[None]:
    """Turn torch's errors of processes that do not meet into ValueErrors for the reader."""
    try:
        yield
    except DistError as error:
        sentence = explain_network_error(error)
        if sentence is None:
            raise
        raise ValueError(sentence) from error


def explain_network_error(error: Exception, args: Namespace | None = None) -> str | None:
    """One sentence for the ways in which processes fail to meet; None for what is not one of them.

    Args:
        error: what torch raised.
        args: torchrun's arguments, if it was torchrun that failed; else it was a process.
    """
    text = str(error)
    if 'EADDRINUSE' in text:
        port = re.search(r'port: (\d+)', text)
        return _in_use(port[1] if port else '')
    joined = re.search(r'after (\d+) seconds waiting for clients. (\d+)/(\d+) clients', text)
    if joined:
        seconds, came, expected = joined.groups()
        what = 'machines' if args is not None else 'processes'
        return (
            f'only {came} of {expected} {what} came within {seconds} s: start the same command on '
            f'every machine, with the same NNODES, MASTER_ADDR and PORT and NODE_RANK 0, 1, ...; '
            f'JOIN_TIMEOUT=SECONDS waits longer.'
        )
    if 'timed out' in text.lower() and ('connect' in text or 'socket' in text):
        where = f'{args.master_addr}:{args.master_port}' if args is not None else 'it'
        return (
            f'the first machine did not answer at {where}: start the same command there with '
            f'NODE_RANK=0, and check MASTER_ADDR, PORT and the firewall. [{text.splitlines()[0]}]'
        )
    return None
