"""Which runs the study is made of, and what must be the same in all of them."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mmengine.config import Config

from cosub_mm.engine.code_version import code_version
from cosub_mm.whole_files import write_atomically

__all__ = ['ARMS', 'LAMS', 'PARTS', 'RATES', 'ProtocolError', 'Run', 'hold_protocol', 'runs_of']

ARMS = {
    'supervised': 8,
    'supervised_equal': 8,
    'cosub': 8,
    'cosub_lam1': 8,
    'kd': 4,
    'mean_teacher': 4,
    'co_training': 4,
    'masksub': 4,
    'pathsub': 4,
    'kd_cosub': 4,
}
"""Arm, also the name of its config, -> seeds, fixed before the first run."""

LAMS = (0.1, 0.3, 0.5, 0.7, 0.9, 1.0)  # of the paper's Table 5
RATES = (0.05, 0.1, 0.2, 0.3)
SWEEP_SEEDS = 4
TUNED_LRS = (5e-4, 1e-3, 2e-3, 4e-3, 8e-3)
# No 0 among them: without stochastic depth there are no submodels to compare.
TUNED_RATES = (0.05, 0.1, 0.2)
TUNE_SEEDS = 1
PARTS = ('main', 'lam', 'rate', 'tune-lr', 'tune-rate')
TEACHER = 'teacher'


class ProtocolError(ValueError):
    """A folder that holds runs of another protocol."""


@dataclass(frozen=True)
class Run:
    """One training and its test.

    Attributes:
        arm: name in the table.
        config: name of the config, below configs/study.
        seed: of weights, order and everything else that is drawn.
        options: ``key=value`` settings beside the config's.
        needs_teacher: whether the teacher must have been trained.
    """

    arm: str
    config: str
    seed: int
    options: tuple[str, ...] = ()
    needs_teacher: bool = False

    @property
    def folder(self) -> str:
        """Below the work dir of the study."""
        return f'{self.arm}/seed{self.seed}'


def runs_of(part: str, arms: Sequence[str] = ()) -> list[Run]:
    """The runs of a part of the study, teacher first and seed by seed.

    Seed by seed, so that a study which is stopped has pairs in all of its arms.

    Args:
        part: ``'main'``, the arms; ``'lam'``, the paper's Table 5; ``'rate'``, drop rates;
            ``'tune-lr'`` and ``'tune-rate'``, the learning rates, then the drop rates, that the
            supervised baseline's are chosen from.
        arms: of the main part; empty for all.

    Raises:
        ValueError: an unknown part or arm.
    """
    unknown = set(arms) - set(ARMS)
    if unknown:
        raise ValueError(f'unknown arms {sorted(unknown)}; choose from {", ".join(ARMS)}.')
    if part == 'main':
        chosen = arms or tuple(ARMS)
        runs = [
            Run(arm, arm, seed, needs_teacher=arm.startswith('kd'))
            for seed in range(max(ARMS.values()))
            for arm in chosen
            if seed < ARMS[arm]
        ]
    elif part == 'lam':
        runs = [
            Run(f'lam_{lam}', 'cosub', seed, (f'model.lam={lam}',))
            for seed in range(SWEEP_SEEDS)
            for lam in LAMS
        ]
    elif part == 'rate':
        runs = [
            Run(f'{config}_rate_{rate}', config, seed, (f'model.drop_path_rate={rate}',))
            for seed in range(SWEEP_SEEDS)
            for rate in RATES
            for config in ('supervised', 'cosub')
        ]
    elif part in ('tune-lr', 'tune-rate'):
        key, values = (
            ('optim_wrapper.optimizer.lr', TUNED_LRS)
            if part == 'tune-lr'
            else ('model.drop_path_rate', TUNED_RATES)
        )
        runs = [
            Run(f'tune_{key.rpartition(".")[2]}_{value}', 'supervised', seed, (f'{key}={value}',))
            for seed in range(TUNE_SEEDS)
            for value in values
        ]
    else:
        raise ValueError(f'part={part!r} is unknown; choose from {", ".join(PARTS)}.')
    if any(run.needs_teacher for run in runs):
        runs.insert(0, Run(TEACHER, TEACHER, 0))
    return runs


def hold_protocol(work_dir: Path, configs: Path, options: Sequence[str]) -> str:
    """Write down what the runs of a folder have in common, or see that it is the same.

    Args:
        work_dir: of the study.
        configs: folder of the arms' configs.
        options: settings of all runs (data, a short trial).

    Returns:
        The fingerprint of code, configs and settings.

    Raises:
        ProtocolError: the folder holds runs of other configs, settings or code.
    """
    parts = {
        'code': code_version(),
        'options': list(options),
        **{file.name: _text(file) for file in sorted(configs.glob('*.py'))},
    }
    hashes = {k: hashlib.sha256(json.dumps(v).encode()).hexdigest()[:16] for k, v in parts.items()}
    hashes['code'] = parts['code']
    file = work_dir / 'protocol.json'
    if file.is_file():
        before = json.loads(file.read_text(encoding='utf-8'))
        changed = sorted(k for k in before.keys() | hashes.keys() if before.get(k) != hashes.get(k))
        if changed:
            raise ProtocolError(
                f'{work_dir} holds runs of another protocol: {", ".join(changed)} changed since. '
                f'Results of both would be mixed. Go on with the code and configs of then, or '
                f'start a study of its own by --work-dir with another folder.'
            )
    else:
        work_dir.mkdir(parents=True, exist_ok=True)
        write_atomically(file, json.dumps(hashes, indent=1).encode())
    return hashlib.sha256(json.dumps(hashes, sort_keys=True).encode()).hexdigest()[:16]


def _text(file: Path) -> str:
    """A config with its bases, as it is parsed."""
    return Config.fromfile(file).pretty_text
