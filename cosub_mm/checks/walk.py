"""The one walk over the data sets of a config."""

from collections.abc import Iterator

from mmengine.config import Config

__all__ = ['PARTS', 'datasets_of', 'leaves', 'with_wrappers']

PARTS = ('train', 'val', 'test')


def with_wrappers(dataset: dict) -> Iterator[dict]:
    """A data set and all that it wraps, by ``dataset=`` or ``datasets=``, the outer first."""
    yield dataset
    inner = dataset.get('dataset') or dataset.get('datasets') or ()
    for one in inner if isinstance(inner, list | tuple) else [inner]:
        yield from with_wrappers(one)


def leaves(dataset: dict) -> Iterator[dict]:
    """The data sets that read files: what RepeatDataset, ConcatDataset and the like wrap."""
    for one in with_wrappers(dataset):
        if not (one.get('dataset') or one.get('datasets')):
            yield one


def datasets_of(cfg: Config, parts: tuple[str, ...] = PARTS) -> Iterator[tuple[str, dict]]:
    """Part (train, val or test) and config of every data set that reads files, in order."""
    for part in parts:
        dataset = (cfg.get(f'{part}_dataloader') or {}).get('dataset')
        if dataset:
            for leaf in leaves(dataset):
                yield part, leaf
