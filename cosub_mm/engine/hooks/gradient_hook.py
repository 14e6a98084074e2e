"""Stop a training in which parts of the model do not learn."""

from collections.abc import Sequence
from fnmatch import fnmatch

from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.optim import OptimWrapper
from mmengine.registry import HOOKS
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from ..parallel import CosubFSDP2

__all__ = ['GradientHook', 'NotTrainedError']

CONFIG_KEY = 'parameters_without_gradient'


class NotTrainedError(ValueError):
    """Parameters that require a gradient, and get none or are in no optimizer."""


@HOOKS.register_module()
class GradientHook(Hook):
    """Ask once, at the first backward pass, whether every parameter is trained.

    A parameter that requires a gradient must be held by the optimizer, and must have a gradient
    after the first backward pass, also one of 0. Frozen parameters (``requires_grad`` False) are
    left alone. The config lists those that are meant to have none, by their names or the names of
    modules, in which ``*`` stands for anything::

        parameters_without_gradient = ['backbone.cls_token', 'backbone.layers.*.ln2']

    The tools add this hook to every training. It costs nothing after the first iteration.

    Raises:
        NotTrainedError: naming the parameters and likely causes; or a listed name that is none.
    """

    priority = 'VERY_HIGH'

    def __init__(self) -> None:
        self._handles: list = []
        self._missing: dict[str, nn.Parameter] | None = None

    def before_train(self, runner) -> None:
        """Compare the model with the optimizer, and watch the first backward pass."""
        wrapped, self._missing = runner.model, None
        model = wrapped.module if is_model_wrapper(wrapped) else wrapped
        if is_model_wrapper(wrapped) and not isinstance(
            wrapped, DistributedDataParallel | CosubFSDP2
        ):
            runner.logger.info(
                f'{type(wrapped).__name__} joins or splits parameters: whether each of them gets '
                f'a gradient is not checked.'
            )
            return
        listed = runner.cfg.get(CONFIG_KEY) or []
        _check_names(model, listed)
        trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
        _check_optimizer(trained, runner.optim_wrapper)
        expected = {name: p for name, p in trained.items() if not _is_listed(name, listed)}
        self._missing = dict(expected)
        self._handles = [
            parameter.register_post_accumulate_grad_hook(
                lambda _, name=name: self._missing.pop(name, None)
            )
            for name, parameter in expected.items()
        ]

    def after_train_iter(self, runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        """Stop if a gradient is missing; look no further otherwise."""
        if self._missing is None:
            return
        for handle in self._handles:
            handle.remove()
        missing, self._missing, self._handles = self._missing, None, []
        if missing:
            raise NotTrainedError(_explain_missing(list(missing), runner.cfg))


def _check_names(model: nn.Module, listed: Sequence[str]) -> None:
    names = [name for name, _ in model.named_parameters()]
    unknown = [entry for entry in listed if not any(_is_listed(name, [entry]) for name in names)]
    if unknown:
        raise NotTrainedError(
            f'{CONFIG_KEY} lists {", ".join(map(repr, unknown))}, which is no parameter and no '
            f'part of {type(model).__name__} that has one.'
        )


def _is_listed(name: str, listed: Sequence[str]) -> bool:
    return any(fnmatch(name, entry) or fnmatch(name, f'{entry}.*') for entry in listed)


def _check_optimizer(trained: dict[str, nn.Parameter], optim_wrapper: OptimWrapper) -> None:
    wrappers = optim_wrapper.values() if hasattr(optim_wrapper, 'values') else [optim_wrapper]
    held = {id(p) for w in wrappers for group in w.optimizer.param_groups for p in group['params']}
    lost = [name for name, parameter in trained.items() if id(parameter) not in held]
    if lost:
        raise NotTrainedError(
            f'{_some(lost)} require(s) a gradient and is held by no optimizer, so it would never '
            f'change. Likely causes: a hook or a custom optimizer constructor replaced or left out '
            f'parameters. Freeze what must stay (frozen_stages, requires_grad_(False)), or let the '
            f'optimizer hold it.'
        )


def _explain_missing(names: list[str], cfg) -> str:
    causes = [
        'the outputs do not depend on it (a class token or a last norm in dense prediction, '
        'outputs that no head reads)',
        'a detach() or no_grad() stands between it and the loss',
    ]
    if cfg.get('activation_checkpointing'):
        causes.append(
            "a runner_type other than CosubRunner, for mmengine's own "
            'activation_checkpointing is reentrant'
        )
    return (
        f'{_some(names)} got no gradient in the first backward pass and would never be trained. '
        f'Likely causes: {"; ".join(causes)}. If it is meant to be so, list the parameter or the '
        f'part of the model in the config (* stands for anything): {CONFIG_KEY} = {names[:1]!r}.'
    )


def _some(names: list[str], shown: int = 6) -> str:
    more = f' and {len(names) - shown} more' if len(names) > shown else ''
    noun = 'parameter' if len(names) == 1 else 'parameters'
    return f'{len(names)} {noun} ({", ".join(names[:shown])}{more})'
