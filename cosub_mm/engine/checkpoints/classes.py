"""Whether label 7 means the same to a checkpoint and to the data."""

from collections.abc import Collection, Sequence

from mmengine.logging import print_log

from .acceptance import stop_unless
from .match import Match
from .parts import is_head

__all__ = ['check_classes', 'keeps_head']


def check_classes(checkpoint: dict, path: str, dataset: object, accept: Collection[str]) -> None:
    """Compare the classes that a checkpoint was trained on with those of a data set.

    mmengine saves the names in ``meta.dataset_meta``; for folders they are the folders' names. A
    file or a data set without names cannot be compared, which is said.

    Args:
        checkpoint: the loaded file.
        path: its name, for messages.
        dataset: a built data set; ``metainfo['classes']`` has its names.
        accept: accepted differences.

    Raises:
        NotAccepted: other names, or another order.
    """
    meta = checkpoint.get('meta') if isinstance(checkpoint.get('meta'), dict) else {}
    # The versions of mmengine's forerunner wrote them into meta itself.
    trained = _names(meta.get('dataset_meta') or {}) or _names(meta)
    present = _names(getattr(dataset, 'metainfo', None) or {})
    if trained is None or present is None:
        who = 'the checkpoint' if trained is None else 'the data set'
        print_log(f'{path}: {who} does not name its classes, not compared', logger='current')
    elif trained != present:
        message = (
            f"checkpoint '{path}' was trained on other classes than those of the data: "
            f'{_difference(trained, present)}.'
        )
        stop_unless('other-classes', accept, message)


def keeps_head(match: Match) -> bool:
    """Whether a match loads a head, so that the labels keep their meaning."""
    heads = [name for name in match.matched if is_head(name)]
    return bool(heads) and not any(is_head(n) for n in (*match.other_shape, *match.missing))


def _names(metainfo: dict) -> list[str] | None:
    classes = metainfo.get('classes', metainfo.get('CLASSES'))
    return [str(name) for name in classes] if classes is not None and len(classes) else None


def _difference(trained: Sequence[str], present: Sequence[str]) -> str:
    at = next((i for i, pair in enumerate(zip(trained, present)) if pair[0] != pair[1]), None)
    if at is None:
        return f'{len(trained)} classes in the checkpoint, {len(present)} in the data'
    first = f"label {at} is '{trained[at]}' in the checkpoint and '{present[at]}' in the data"
    if sorted(trained) == sorted(present):
        return f'the same names in another order, {first}'
    gone = [name for name in trained if name not in set(present)]
    new = [name for name in present if name not in set(trained)]
    counts = [
        f'{len(names)} {where} only ({", ".join(names[:3])}{", ..." if len(names) > 3 else ""})'
        for names, where in ((gone, 'in the checkpoint'), (new, 'in the data'))
        if names
    ]
    return '; '.join([first, *counts])
