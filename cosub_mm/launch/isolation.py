"""Several runs in one process, each with its own logger, message hub and visualizer."""

from collections.abc import Iterator
from contextlib import contextmanager

from mmengine.logging import MessageHub, MMLogger
from mmengine.registry import DefaultScope
from mmengine.utils import ManagerMixin
from mmengine.visualization import Visualizer

__all__ = ['own_instances']


@contextmanager
def own_instances() -> Iterator[None]:
    """Close and forget what the run in this context registers by name.

    mmengine keeps loggers, hubs and visualizers for ever under names that change once a second or,
    for a configured visualizer, never: a second run would write into the files of the first.
    """
    before = {kind: set(kind._instance_dict) for kind in _kinds()}
    try:
        yield
    finally:
        for kind in _kinds():
            for name in set(kind._instance_dict) - before.get(kind, set()):
                _close(kind._instance_dict.pop(name))


def _kinds() -> list[type[ManagerMixin]]:
    kinds, visualizers = [MMLogger, MessageHub, DefaultScope], [Visualizer]
    while visualizers:
        kind = visualizers.pop()
        kinds.append(kind)
        visualizers.extend(kind.__subclasses__())
    return kinds


def _close(instance: ManagerMixin) -> None:
    if isinstance(instance, Visualizer):
        instance.close()
    elif isinstance(instance, MMLogger):
        for handler in instance.handlers:
            handler.close()
