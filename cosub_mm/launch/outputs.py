"""What a test writes: metrics, predictions, label maps."""

import json
from pathlib import Path
from tempfile import TemporaryFile

from mmengine.config import Config
from mmengine.dist import is_main_process

from .config import task_of

__all__ = ['check_new_file', 'check_out', 'check_writable', 'request_predictions', 'write_metrics']

_CHOICES = {
    'classification': 'FILE.json for the metrics or FILE.pkl for the predictions',
    'segmentation': 'FILE.json for the metrics or DIR for label maps (PNG)',
}


def check_out(cfg: Config, out: str) -> str:
    """What ``--out`` asks for: 'metrics', 'predictions' or 'label maps'.

    Raises:
        ValueError: the form of ``out`` does not fit the task.
    """
    task, suffix = task_of(cfg), Path(out).suffix.lower()
    if suffix == '.json':
        return 'metrics'
    if task == 'classification' and suffix in ('.pkl', '.pickle'):
        return 'predictions'
    if task == 'segmentation' and not suffix:
        return 'label maps'
    raise ValueError(f"--out '{out}': for {task} give {_CHOICES[task]}.")


def check_writable(out: str | Path, argument: str = '--out', is_file: bool | None = None) -> None:
    """Find out before the work whether its result can be written.

    Args:
        out: the file or folder.
        argument: what the command line calls it.
        is_file: whether a file is asked for; None tells it by the suffix.

    Raises:
        ValueError: ``out`` is a folder where a file is asked for or the other way round, or lies
            where this user may not write.
    """
    path = Path(out).absolute()
    is_file = bool(path.suffix) if is_file is None else is_file
    if path.exists() and path.is_dir() == is_file:
        kinds = ('a file', 'a folder') if is_file else ('a folder', 'a file')
        raise ValueError(f"{argument} '{out}' names {kinds[0]}, but is {kinds[1]}.")
    place = next(p for p in (path, *path.parents) if p.exists())
    if place != path and not place.is_dir():
        raise ValueError(f"{argument} '{out}': '{place}' is a file, not a folder.")
    try:
        with open(place, 'ab') if place.is_file() else TemporaryFile(dir=place):
            pass
    except OSError as error:
        raise ValueError(
            f"{argument} '{out}' cannot be written: {place}: {error.strerror}."
        ) from error


def check_new_file(out: str | Path, argument: str) -> None:
    """As :func:`check_writable`, of a file that must not be there yet.

    Raises:
        ValueError: ``out`` is there already, or cannot be written.
    """
    check_writable(out, argument, is_file=True)
    if Path(out).exists():
        raise ValueError(
            f"{argument} '{out}' exists already and is not written over: move it, or choose "
            f'another name.'
        )


def request_predictions(cfg: Config, out: str) -> None:
    """Let the evaluation of ``cfg`` write predictions or label maps to ``out``."""
    evaluators = cfg.test_evaluator
    evaluators = list(evaluators) if isinstance(evaluators, list | tuple) else [evaluators]
    kind = check_out(cfg, out)
    if kind == 'predictions':
        evaluators.append(dict(type='mmengine.DumpResults', out_file_path=out))
    elif kind == 'label maps':
        able = [e for e in evaluators if str(e.get('type')).endswith('IoUMetric')]
        if not able:
            raise ValueError(
                f"--out '{out}': label maps are written by IoUMetric, which test_evaluator lacks."
            )
        able[0]['output_dir'] = out
    cfg.test_evaluator = evaluators


def write_metrics(metrics: dict, out: str) -> None:
    """Write metrics as JSON, in the first process only."""
    if not is_main_process():
        return
    path = Path(out)
    path.parent.mkdir(parents=True, exist_ok=True)
    plain = {name: float(value) for name, value in metrics.items() if _is_number(value)}
    path.write_text(json.dumps(plain, indent=2) + '\n')


def _is_number(value: object) -> bool:
    try:
        float(value)
    except (TypeError, ValueError):
        return False
    return True
