"""Do a bad step again, as far as it can be known without its weights."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from mmengine.config import Config
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from torch import Tensor

from .batch_dump import decode_batch, set_random_states
from .weights import not_finite, some

__all__ = ['Replay', 'config_of', 'replay']


@dataclass
class Replay:
    """What a batch did this time."""

    files: list[str]
    losses: dict[str, float]
    first_module: str
    gradients: list[str]

    @property
    def finite(self) -> bool:
        """Whether loss and gradients are numbers now."""
        return not self.first_module and not self.gradients and _finite(self.losses)

    def __str__(self) -> str:
        lines = ['files: ' + (', '.join(self.files) or 'unknown')]
        lines += [f'{name}: {value:.6g}' for name, value in self.losses.items()]
        if self.first_module:
            lines.append(f'the first module whose output is no number: {self.first_module}')
        if self.gradients:
            lines.append(f'gradients that are no numbers: {some(self.gradients)}')
        return '\n'.join(lines)


def config_of(dump: str | Path, content: dict) -> Path:
    """The config that the training wrote into its work dir.

    Raises:
        FileNotFoundError: it is not there any more.
    """
    path = Path(dump).absolute().parent.parent / str(content.get('config') or '')
    if not path.is_file():
        raise FileNotFoundError(f"there is no config '{path}'; give it by --config.")
    return path


def replay(content: dict, cfg: Config, runner: Runner) -> list[Replay]:
    """Forward and backward passes of the batches of a dump, with their random numbers.

    Args:
        content: of the dump.
        cfg: of the training; its optimizer wrapper says in which precision.
        runner: with the model, its weights loaded.
    """
    model = runner.model.module if is_model_wrapper(runner.model) else runner.model
    wrapper = runner.build_optim_wrapper(cfg.optim_wrapper)
    model.train()
    results = []
    for one in content['batches']:
        batch = decode_batch(one['batch'])
        wrapper.zero_grad()
        bad: list[str] = []
        handles = [
            module.register_forward_hook(_noting(name, bad))
            for name, module in model.named_modules()
            if not list(module.children())
        ]
        set_random_states(one['seeds'])
        try:
            with wrapper.optim_context(model):
                data = model.data_preprocessor(batch, True)
                losses = model._run_forward(data, mode='loss')
            total, values = model.parse_losses(losses)
            total.backward()
        finally:
            for handle in handles:
                handle.remove()
        grads = {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
        values = {name: float(value) for name, value in values.items()}
        results.append(Replay(one['files'], values, next(iter(bad), ''), not_finite(grads)))
    return results


def _noting(name: str, bad: list[str]) -> Callable[..., None]:
    def note(module: object, inputs: object, output: object) -> None:
        for one in output if isinstance(output, list | tuple) else [output]:
            if isinstance(one, Tensor) and one.is_floating_point() and not one.isfinite().all():
                bad.append(name)

    return note


def _finite(values: dict[str, float]) -> bool:
    return all(math.isfinite(value) for name, value in values.items() if 'loss' in name)
