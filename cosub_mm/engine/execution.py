"""How a model is executed in training: compiled, and with activations that are computed anew.

mmengine compiles the whole training step, in which mixup, cutmix and the optimizer break the
compiler, and it checkpoints reentrantly: a part whose inputs need no gradient, as one fed by
images, then gets none itself and stays as it was initialised.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial, wraps

import torch
from mmengine.config import Config
from mmengine.model import is_model_wrapper
from torch import nn
from torch.utils.checkpoint import checkpoint

__all__ = [
    'check_execution',
    'check_memory_budget',
    'checkpoint_activations',
    'compile_backbone',
    'compile_options',
    'named_parts',
]

# Where models of mmpretrain and mmseg keep what is most of their work.
BACKBONE_NAMES = ('backbone', 'model')
# Of torch._dynamo.config: what a block notes is done once, not again in the backward pass.
CHECKPOINT_OPTION = 'skip_fwd_side_effects_in_bwd_under_checkpoint'
# These are never called, so that a wrapped forward of theirs would do nothing.
_CONTAINERS = (nn.ModuleList, nn.ModuleDict)
_WITH_CUDA_GRAPHS = ('reduce-overhead', 'max-autotune')


class ExecutionError(ValueError):
    """A setting of ``compile`` or ``activation_checkpointing`` that cannot be followed."""


def check_execution(cfg: Config, model: nn.Module) -> None:
    """Refuse settings that cannot be followed, before anything is trained.

    Args:
        cfg: reads ``compile`` and ``activation_checkpointing``.
        model: the model built from it, wrapped or not.

    Raises:
        ExecutionError: an unknown part, an option of the wrong type, a model without a backbone,
            or torch's memory budget below 1 with a compiled model.
    """
    named_parts(model, cfg.get('activation_checkpointing'))
    if compile_options(cfg.get('compile')) is not None:
        _backbone(model)
        check_memory_budget()


def checkpoint_activations(model: nn.Module, modules: Sequence[str] | str | None) -> None:
    """Let parts of a model keep their inputs only, and compute the rest anew for backward.

    A part computes what it did, with the same random numbers, and every parameter gets the gradient
    that it has without checkpointing (``use_reentrant=False``).

    Args:
        model: changed in place.
        modules: names of parts, e.g. ``['backbone.layers']``; a list of modules stands for each
            of them.

    Raises:
        ExecutionError: there is no such part.
    """
    for module in named_parts(model, modules):
        module.forward = _checkpointed(module)


def _checkpointed(module: nn.Module) -> Callable:
    forward = module.forward
    norms = [m for m in module.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]

    @wraps(forward)
    def wrapper(*args, **kwargs):
        if not torch.is_grad_enabled():
            return forward(*args, **kwargs)
        contexts = dict(context_fn=lambda: (nullcontext(), _once(norms))) if norms else {}
        call = partial(forward, **kwargs)
        return checkpoint(call, *args, use_reentrant=False, **contexts)

    return wrapper


@contextmanager
def _once(norms: Sequence[nn.Module]) -> Iterator[None]:
    """Let BatchNorm leave its running statistics alone, which the first pass has updated."""
    kept = [(norm, norm.momentum, norm.num_batches_tracked) for norm in norms]
    for norm, _, batches in kept:
        norm.momentum = 0.0
        norm.num_batches_tracked = None if batches is None else batches.clone()
    try:
        yield
    finally:
        for norm, momentum, batches in kept:
            norm.momentum, norm.num_batches_tracked = momentum, batches


def named_parts(
    model: nn.Module,
    names: Sequence[str] | str | None,
    setting: str = 'activation_checkpointing',
) -> list[nn.Module]:
    """Modules by their names; a list of modules stands for each of them.

    Args:
        model: wrapped or not.
        names: such as ``['backbone.layers']``.
        setting: the config's, for the message.

    Raises:
        ExecutionError: there is no such part.
    """
    model = model.module if is_model_wrapper(model) else model
    parts = []
    for name in [names] if isinstance(names, str) else names or []:
        try:
            part = model.get_submodule(name)
        except AttributeError:
            raise ExecutionError(
                f"{setting}: there is no '{name}' in {type(model).__name__}. Name "
                f"parts such as 'backbone.layers' or 'backbone.layers.0'; {_children(model)}."
            ) from None
        parts.extend(part.children() if isinstance(part, _CONTAINERS) else [part])
    return list(dict.fromkeys(parts))


def compile_options(option: bool | dict | None) -> dict | None:
    """Arguments of ``torch.compile`` from a config's ``compile``; None leaves the model as it is.

    Raises:
        ExecutionError: neither a boolean nor a dict, or a mode that replays CUDA graphs.
    """
    if option is None or option is False:
        return None
    if option is not True and not isinstance(option, dict):
        raise ExecutionError(
            f"compile={option!r}: give True, False, or a dict of torch.compile's arguments such as "
            f"dict(mode='max-autotune-no-cudagraphs')."
        )
    options = {} if option is True else dict(option)
    mode = options.get('mode')
    if mode in _WITH_CUDA_GRAPHS:
        raise ExecutionError(
            f'compile: mode={mode!r} replays CUDA graphs. The next replay overwrites outputs '
            f'that two passes a step and test-time augmentation keep longer, and it was never '
            f"tried on a GPU. Take mode='max-autotune-no-cudagraphs', or leave the mode out."
        )
    return options


def compile_backbone(model: nn.Module, options: dict, checkpointed: bool = False) -> str:
    """Compile the forward pass of a model's backbone, in place: parameter names stay.

    Augmentations of the batch (mixup, cutmix), heads, losses and the optimizer run as they are.

    Args:
        model: wrapped or not.
        options: arguments of ``torch.compile``.
        checkpointed: parts of it compute their activations anew; for the rest of the process the
            compiler is then told that what stochastic depth counts is counted once.

    Returns:
        What was compiled, in a sentence.

    Raises:
        ExecutionError: no backbone, or torch's memory budget is below 1.
    """
    check_memory_budget()
    name, backbone = _backbone(model)
    if checkpointed:
        # Otherwise the compiler gives up on the whole backbone, in silence.
        if not hasattr(torch._dynamo.config, CHECKPOINT_OPTION):
            raise ExecutionError(
                f'--compile with activation checkpointing needs a torch whose compiler has the '
                f'option {CHECKPOINT_OPTION} (2.11 has, 2.6 has not); this is {torch.__version__}. '
                f'Leave one of the two out, or install a newer torch.'
            )
        setattr(torch._dynamo.config, CHECKPOINT_OPTION, True)
    backbone.compile(**options)
    peer = getattr(model.module if is_model_wrapper(model) else model, 'peer', None)
    if peer is not None:  # of two models trained together
        _backbone(peer)[1].compile(**options)
    return (
        f"torch.compile: the forward and backward pass of '{name}' ({type(backbone).__name__}) are "
        f'compiled by {options.get("backend", "inductor")}; augmentations, heads, losses and the '
        f'optimizer are not. The first iteration of each batch size is slow.'
    )


def _backbone(model: nn.Module) -> tuple[str, nn.Module]:
    model = model.module if is_model_wrapper(model) else model
    for name in BACKBONE_NAMES:
        part = getattr(model, name, None)
        if isinstance(part, nn.Module):
            return name, part
    raise ExecutionError(
        f'compile: {type(model).__name__} has no backbone to compile; {_children(model)}. Leave '
        f'`compile` out, and call module.compile() on a part in code of your own.'
    )


def check_memory_budget() -> None:
    """Refuse what lets compiled code recompute random operations with other numbers.

    Raises:
        ExecutionError: torch's ``activation_memory_budget`` is below 1 (pytorch issue 190758).
    """
    from torch._functorch import config

    if config.activation_memory_budget < 1:
        raise ExecutionError(
            f'torch._functorch.config.activation_memory_budget={config.activation_memory_budget}: '
            f'below 1, torch.compile draws new random numbers where it computes activations anew, '
            f'so that backward belongs to other dropped rows than forward, and gradients are wrong '
            f'in silence (pytorch issues 190758 and 190717). Set it to 1 and save memory by '
            f"activation_checkpointing=['backbone.layers'] instead."
        )


def _children(model: nn.Module) -> str:
    return f'its parts are {", ".join(name for name, _ in model.named_children())}'
