"""What tools/train.py and tools/test.py do, step by step."""

from argparse import Namespace
from collections.abc import Callable
from functools import wraps

from mmengine.config import Config
from mmengine.dist import all_gather_object, is_main_process
from mmengine.model import is_model_wrapper
from mmengine.registry import OPTIMIZERS, RUNNERS
from mmengine.runner import Runner

from cosub_mm.checks.classes import compare_tested_classes, compare_trained_classes
from cosub_mm.checks.config_changes import compare_with_checkpoint
from cosub_mm.checks.run_length import check_evaluated_data, check_run_length, follow_run_length
from cosub_mm.checks.strategies import check_strategy
from cosub_mm.engine.amp import set_amp
from cosub_mm.engine.batch_size import check_batch_size, describe_batch
from cosub_mm.engine.checkpoints import (
    accepted,
    check_pretrained,
    check_weights,
    start_paths,
    trusting,
)
from cosub_mm.engine.execution import check_execution
from cosub_mm.engine.hooks import EfficientDropPathHook, ValidatedBuffersHook
from cosub_mm.model_hub import leave_teacher_out
from cosub_mm.stochastic_depth import describe

from .config import (
    add_training_hooks,
    load_config,
    name_absent_classes,
    set_data_root,
    set_dataloader_defaults,
)
from .distributed import open_process_group
from .errors import user_errors
from .interruption import StopHook, StopSignals
from .isolation import own_instances
from .missed_validation import MissedValidationHook
from .outputs import check_out, check_writable, request_predictions, write_metrics
from .rendezvous import network_errors
from .resume_point import already_complete, find_resume_point
from .tested_weights import prepare_weights
from .tta import enable_tta
from .work_dir import (
    checkpoint_folders,
    clear_checkpoints,
    default_work_dir,
    refuse_to_delete,
    summary,
)
from .work_dir_lock import hold_folders

__all__ = ['test', 'train']


def _as_trusted(step: Callable) -> Callable:
    """Run a step with ``--trust-checkpoint`` in force, or not."""

    @wraps(step)
    def run(args: Namespace) -> object:
        with trusting(args.trust_checkpoint):
            return step(args)

    return run


@_as_trusted
def train(args: Namespace) -> str:
    """Train as the parsed command line says.

    Args:
        args: from :func:`cosub_mm.launch.arguments.train_arguments`.

    Returns:
        The work dir.

    Raises:
        UserError: wrong input, found before the first step.
    """
    with user_errors('reading the config'):
        cfg = load_config(args.config, args.cfg_options)
        cfg.work_dir = args.work_dir or cfg.get('work_dir') or default_work_dir(args.config)
        _common(cfg, args)
        _training_options(cfg, args)
    with hold_folders(checkpoint_folders(cfg), args.take_over):
        _train_in_own_folders(cfg, args)
    return cfg.work_dir


@_as_trusted
def test(args: Namespace) -> dict:
    """Test as the parsed command line says.

    Args:
        args: from :func:`cosub_mm.launch.arguments.test_arguments`.

    Returns:
        The metrics.

    Raises:
        UserError: wrong input, found before the first image.
    """
    with user_errors('reading the config'):
        cfg = load_config(args.config, args.cfg_options)
        cfg.work_dir = args.work_dir or cfg.get('work_dir') or default_work_dir(args.config)
        if not cfg.get('test_dataloader'):
            raise ValueError('the config has no test_dataloader, so there is nothing to test on.')
        _common(cfg, args)
        _only_test(cfg)
        if args.out:
            request_predictions(cfg, args.out)
            check_writable(args.out)
        if args.show_dir:
            check_writable(args.show_dir, '--show-dir', is_file=False)
            draw = dict(type='mmengine.DrawPredictionsHook', out_dir=args.show_dir)
            hooks = [*(cfg.get('custom_hooks') or []), dict(draw, interval=args.show_interval)]
            cfg.custom_hooks = hooks
        if args.tta:
            enable_tta(cfg)
        cfg.load_from, cfg.resume = args.checkpoint, False
    with user_errors('checking the data'):
        _set_bad_image_policy(cfg, args)
        _check_data(cfg)
    with own_instances():
        return _run_test(cfg, args)


def _train_in_own_folders(cfg: Config, args: Namespace) -> None:
    with user_errors('looking for checkpoints'):
        meta = find_resume_point(cfg, args)
        _set_bad_image_policy(cfg, args)
        if meta:
            compare_with_checkpoint(cfg, meta, args.on_config_change)
        if already_complete(cfg, meta):
            return
    with user_errors('checking the data'):
        _check_data(cfg)
    with own_instances():
        _run_training(cfg, args)


def _run_training(cfg: Config, args: Namespace) -> None:
    runner = _build(cfg)
    with user_errors('checking how the model is executed'):
        check_execution(cfg, runner.model)
    with user_errors('checking the batch size'):
        check_batch_size(runner.cfg, runner.world_size)
    runner.logger.info(describe_batch(runner.cfg, runner.world_size))
    with user_errors('checking the weights to start from'):
        _check_start(cfg, runner, accepted(cfg, args))
        if args.overwrite:
            refuse_to_delete(cfg, start_paths(cfg, runner.model))
    with user_errors('building data loaders, optimizer and schedules'):
        _build_training(runner)
        check_run_length(runner)
    with user_errors('comparing the classes'):
        compare_trained_classes(runner, cfg, args)
    if hasattr(runner, 'new_settings'):
        runner.new_settings = args.on_config_change == 'new'
    _log_drop_rate(runner)
    if args.overwrite and is_main_process():
        for file in clear_checkpoints(cfg):
            runner.logger.warning(f'deleted {file} (--overwrite)')
    with StopSignals() as signals:
        runner.register_hook(StopHook(signals))
        runner.register_hook(MissedValidationHook())
        runner.register_hook(ValidatedBuffersHook())
        runner.train()
    runner.logger.info('finished\n' + summary(cfg, runner.work_dir, runner.log_dir))


def _run_test(cfg: Config, args: Namespace) -> dict:
    runner = _build(cfg)
    with user_errors('checking the checkpoint'):
        prepare_weights(runner, cfg, args)
    with user_errors('building the data loader'):
        check_evaluated_data(runner.test_loop, 'test')
    with user_errors('comparing the classes'):
        compare_tested_classes(runner, cfg, args)
    metrics = runner.test()
    if args.out:
        kind = check_out(cfg, args.out)
        if kind == 'metrics':
            write_metrics(metrics, args.out)
        runner.logger.info(f'{kind} written to {args.out}')
    runner.logger.info(f'log written to {runner.log_dir}')
    return metrics


def _common(cfg: Config, args: Namespace) -> None:
    """What training and testing change in a config, and the process group."""
    check_strategy(cfg)
    cfg.launcher = args.launcher
    if args.data_root:
        set_data_root(cfg, args.data_root)
    set_dataloader_defaults(cfg)
    name_absent_classes(cfg)
    group = (cfg.get('env_cfg') or {}).get('dist_cfg') or {}
    open_process_group(args.launcher, group.get('timeout'))


def _training_options(cfg: Config, args: Namespace) -> None:
    missing = [k for k in ('train_dataloader', 'train_cfg', 'optim_wrapper') if not cfg.get(k)]
    if missing:
        raise ValueError(f'the config has no {", ".join(missing)}, so there is nothing to train.')
    if args.amp:
        set_amp(cfg, args.amp)
    if args.compile and not cfg.get('compile'):
        cfg.compile = True
    check_strategy(cfg)  # once more, with what these options have changed
    if args.auto_scale_lr:
        cfg.auto_scale_lr = dict(cfg.get('auto_scale_lr') or {}, enable=True)
    if args.tensorboard:
        visualizer = cfg.get('visualizer') or dict(type='mmengine.Visualizer')
        backends = list(visualizer.get('vis_backends') or [])
        backends.append(dict(type='mmengine.TensorboardVisBackend'))
        cfg.visualizer = dict(visualizer, vis_backends=backends)
    add_training_hooks(cfg)
    for sentence in follow_run_length(cfg):
        print(sentence, flush=True)


def _only_test(cfg: Config) -> None:
    """Drop what a test does not use, so that data that only training needs may be absent."""
    for key in ('train_dataloader', 'train_cfg', 'optim_wrapper', 'param_scheduler'):
        cfg[key] = None
    for key in ('val_dataloader', 'val_cfg', 'val_evaluator'):
        cfg[key] = None
    leave_teacher_out(cfg.model)


def _set_bad_image_policy(cfg: Config, args: Namespace) -> None:
    # Data sets load with their libraries; keep that out of the import of the package.
    from cosub_mm.checks.data import set_bad_image_policy

    set_bad_image_policy(cfg, args.on_bad_image, args.max_image_pixels)


def _check_data(cfg: Config) -> None:
    from cosub_mm.checks.data import check_data

    check_data(cfg)


def _build(cfg: Config) -> Runner:
    """The Runner with its model; a config may name another ``runner_type``."""
    cfg.setdefault('runner_type', 'mmengine.CosubRunner')
    with user_errors('building the model'), network_errors():
        return RUNNERS.build(cfg)


def _check_start(cfg: Config, runner: Runner, accept: set[str]) -> None:
    found = all_gather_object(cfg.load_from if cfg.resume else None)
    if len(set(found)) > 1:
        raise ValueError(
            f'the processes would resume from different checkpoints: {sorted(map(str, set(found)))}'
            '. Put the work dir on a file system that all machines share.'
        )
    if cfg.resume:
        check_weights(cfg.load_from, runner.model, training=True, accept=accept)
    else:
        check_pretrained(cfg, runner.model, accept)


def _build_training(runner: Runner) -> None:
    """Build now what ``Runner.train`` would build, in its order: it keeps what it finds."""
    _check_optimizer((runner.optim_wrapper.get('optimizer') or {}).get('type'))
    runner.train_loop  # noqa: B018  (the properties build)
    runner.optim_wrapper = runner.build_optim_wrapper(runner.optim_wrapper)
    runner.scale_lr(runner.optim_wrapper, runner.auto_scale_lr)
    runner.auto_scale_lr = None
    if runner.param_schedulers is not None:
        runner.param_schedulers = runner.build_param_scheduler(runner.param_schedulers)
    runner.val_loop  # noqa: B018


def _log_drop_rate(runner: Runner) -> None:
    """Log what a model with stochastic depth really drops, also where no config asks for it."""
    model = runner.model.module if is_model_wrapper(runner.model) else runner.model
    configured = any(isinstance(hook, EfficientDropPathHook) for hook in runner.hooks)
    if not configured and describe(model) is not None:
        runner.register_hook(EfficientDropPathHook(module=''))


def _check_optimizer(kind: object) -> None:
    """Name an unknown optimizer; mmengine says only that None is not callable."""
    with OPTIMIZERS.switch_scope_and_registry(None) as registry:
        if isinstance(kind, str) and registry.get(kind) is None:
            raise ValueError(f"optim_wrapper.optimizer.type='{kind}' is not a known optimizer.")
