"""What tools/test.py does with a checkpoint before it tests it."""

from argparse import Namespace

from mmengine.config import Config
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner

from cosub_mm.engine.checkpoints import (
    Weights,
    accepted,
    check_tested_model,
    check_weights,
    choose_weights,
    ema_hooks,
    load_checkpoint,
    validated_kind,
    wanted_kind,
)
from cosub_mm.engine.hooks import ChosenWeightsHook

__all__ = ['prepare_weights']


def prepare_weights(runner: Runner, cfg: Config, args: Namespace) -> None:
    """Check the checkpoint against model and config, and choose the weights to test.

    Args:
        runner: built, nothing loaded yet.
        cfg: its config.
        args: from :func:`cosub_mm.launch.arguments.test_arguments`.

    Raises:
        CheckpointError: the checkpoint does not belong to the config, or the choice of its weights
            is not clear.
    """
    checkpoint = load_checkpoint(args.checkpoint, peek=True, verify=True)
    weights = _choose(runner, cfg, args, checkpoint)
    model = runner.model.module if is_model_wrapper(runner.model) else runner.model
    model = model.module if args.tta else model
    accept = accepted(cfg, args)
    match = check_weights(args.checkpoint, model, state_dict=weights.tensors, accept=accept)
    check_tested_model(checkpoint, args.checkpoint, cfg, accept)
    runner.logger.info(f'{args.checkpoint}: {match}')


def _choose(runner: Runner, cfg: Config, args: Namespace, checkpoint: dict) -> Weights:
    choice = dict(want=wanted_kind(args), key=args.weights_key, default=validated_kind(checkpoint))
    weights = choose_weights(checkpoint, args.checkpoint, **choice)
    hooks = list(ema_hooks(cfg))
    both = any(
        hook.get('evaluate_on_origin') and hook.get('evaluate_on_ema', True) for hook in hooks
    )
    if both and not (choice['want'] or choice['key']):
        runner.logger.info(f'testing {args.checkpoint} twice, as its EMAHook says: {weights}')
    else:
        runner.register_hook(ChosenWeightsHook(args.checkpoint, **choice))
    return weights
