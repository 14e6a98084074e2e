"""mmengine's Runner with what it lacks here: CPU processes, whole files, the actual batch."""

from pathlib import Path

import torch
from mmengine.dist import broadcast_object_list, get_world_size, is_main_process, master_only
from mmengine.hooks import Hook
from mmengine.logging import MessageHub, MMLogger
from mmengine.model import is_model_wrapper, revert_sync_batchnorm
from mmengine.optim import OptimWrapper
from mmengine.registry import RUNNERS
from mmengine.runner import BaseLoop, Runner
from mmengine.runner import runner as mmengine_runner
from torch import nn
from torch.utils.data import DataLoader

from cosub_mm.version import __version__
from cosub_mm.whole_files import replacing

from .batch_size import global_batch_size, lr_factor
from .code_version import code_version
from .console import quieten
from .execution import checkpoint_activations, compile_backbone, compile_options
from .finite import check_before_save
from .gathered import GathersAgain, gathered_steps
from .loops import CosubEpochTrainLoop
from .parallel import SpreadRunner
from .read_watch import watch_reads
from .resumed_settings import group_settings, take_settings
from .scalars import keep_norm_on_device, keep_scalars_on_device
from .worker_signals import shield_workers
from .worker_watch import WORKER_TIMEOUT, naming_files, note_samples

__all__ = ['CosubRunner']

LOOPS = ('EpochBasedTrainLoop', 'IterBasedTrainLoop')


@RUNNERS.register_module()
class CosubRunner(SpreadRunner):
    """Runner of every CoSub-MM tool; a drop-in for mmengine's.

    - Several processes without a GPU: DistributedDataParallel without device ids, and SyncBN, which
      exists on GPUs only, reverted to BN.
    - A checkpoint is written under another name and renamed when it is whole: a full disk or a
      killed job never leaves half a file under the name of a checkpoint.
    - Data-loading workers outlive a signal that asks the training to stop.
    - ``auto_scale_lr`` counts gradient accumulation, and knows ``rule='sqrt'`` beside 'linear'.
    - Numbers for the log stay on the device until they are logged: see :mod:`.scalars`.
    - Parameters of equal settings share a group of the optimizer, so that it updates many at once.
    - ``activation_checkpointing`` leaves every gradient as it is, and ``compile`` compiles the
      backbone instead of the whole step: see :mod:`.execution`.
    - A model brings the hooks that it cannot be trained without (``own_hooks``).
    - A model (``CosubFSDP2``) or an optimizer (``shard_optimizer``) may be spread over the
      processes: see :mod:`.parallel`.
    """

    fail_together = False  # whether a save that fails in the first process is an error in all
    new_settings = False  # whether a resumed run takes learning rates and schedules of its config

    def build_logger(self, *args, **kwargs) -> MMLogger:
        """Build the logger, with a console that shows what a person needs."""
        logger = super().build_logger(*args, **kwargs)
        quieten(logger)
        return logger

    def build_message_hub(self, message_hub: dict | None = None) -> MessageHub:
        """Build the message hub, which reads a number from the device when it is logged."""
        hub = super().build_message_hub(message_hub)
        keep_scalars_on_device(hub)
        return hub

    def train(self) -> nn.Module:
        """Train, with activation checkpointing that is not reentrant."""
        # Runner.train has no seam for it, but looks the function up in its module.
        stock = mmengine_runner.turn_on_activation_checkpointing
        mmengine_runner.turn_on_activation_checkpointing = checkpoint_activations
        try:
            with naming_files(self._loaders):
                return super().train()
        finally:
            mmengine_runner.turn_on_activation_checkpointing = stock

    def _maybe_compile(self, target: str) -> None:
        """Compile the backbone for training; mmengine compiles ``target``, the whole step."""
        options = compile_options(self.cfg.get('compile'))
        if options is not None and target == 'train_step':
            checkpointed = bool(self.cfg.get('activation_checkpointing'))
            self.logger.info(compile_backbone(self.model, options, checkpointed))

    def wrap_model(self, model_wrapper_cfg: dict | None, model: nn.Module) -> nn.Module:
        """Wrap for distributed training, with or without GPUs."""
        if self.distributed and not torch.cuda.is_available():
            model = revert_sync_batchnorm(model)
            unused = self.cfg.get('find_unused_parameters', False)
            model_wrapper_cfg = dict(model_wrapper_cfg or dict(find_unused_parameters=unused))
            model_wrapper_cfg.setdefault('type', 'MMDistributedDataParallel')
            if 'DistributedDataParallel' in str(model_wrapper_cfg['type']):
                model_wrapper_cfg['device_ids'] = None
        return super().wrap_model(model_wrapper_cfg, model)

    @staticmethod
    def build_dataloader(
        dataloader: DataLoader | dict, seed: int | None = None, diff_rank_seed: bool = False
    ) -> DataLoader:
        """Build a data loader whose workers outlive a signal to stop."""
        if isinstance(dataloader, DataLoader):
            return dataloader
        if dataloader.get('num_workers'):
            loader = Runner.build_dataloader(dataloader, seed, diff_rank_seed)
            return note_samples(shield_workers(loader))
        # torch has a time-out for workers only.
        others = {key: value for key, value in dataloader.items() if key != 'timeout'}
        loader = Runner.build_dataloader(others, seed, diff_rank_seed)
        return watch_reads(loader, dataloader.get('timeout', WORKER_TIMEOUT))

    def test(self) -> dict:
        """Test, with errors that name the file on which a worker hung or died."""
        with naming_files(self._loaders):
            return super().test()

    def _loaders(self) -> list[DataLoader]:
        loops = (self._train_loop, self._val_loop, self._test_loop)
        return [loop.dataloader for loop in loops if isinstance(loop, BaseLoop)]

    def build_train_loop(self, loop: BaseLoop | dict) -> BaseLoop:
        """Build the loop; ours in place of mmengine's, which go on exactly where a run stopped."""
        if isinstance(loop, dict):
            kind = loop.get('type') or LOOPS[0 if loop.get('by_epoch') else 1]
            name = getattr(kind, '__name__', str(kind)).rpartition('.')[2]
            if name in LOOPS:
                loop = {key: value for key, value in loop.items() if key != 'by_epoch'}
                loop['type'] = f'mmengine.Cosub{name.replace("Based", "")}'
        return super().build_train_loop(loop)

    def build_optim_wrapper(self, optim_wrapper: OptimWrapper | dict) -> OptimWrapper:
        """Build optimizer and wrapper, parameters of equal settings in one group by default."""
        if isinstance(optim_wrapper, dict) and isinstance(optim_wrapper.get('optimizer'), dict):
            optim_wrapper = optim_wrapper.copy()
            optim_wrapper.setdefault('constructor', 'mmengine.CosubMergedGroups')
        built = super().build_optim_wrapper(optim_wrapper)
        for one in built.values() if hasattr(built, 'values') else [built]:
            keep_norm_on_device(one)
        return built

    def register_hooks(self, default_hooks: dict | None = None, custom_hooks=None) -> None:
        """Register the hooks of the config, and those that the model brings (``own_hooks``)."""
        super().register_hooks(default_hooks, custom_hooks)
        model = self.model.module if is_model_wrapper(self.model) else self.model
        present = {type(hook).__name__ for hook in self.hooks}
        for hook in getattr(model, 'own_hooks', ()):
            if hook['type'].rpartition('.')[2] not in present:
                self.register_hook(dict(hook))

    def register_hook(self, hook: Hook | dict, priority: str | int | None = None) -> None:
        """Register a hook; ours in place of mmengine's that save and log, whoever asks for them."""
        name = str(hook.get('type')).rpartition('.')[2] if isinstance(hook, dict) else None
        if name in ('CheckpointHook', 'LoggerHook'):
            hook = dict(hook, type=f'mmengine.Cosub{name}')
        super().register_hook(hook, priority)

    def resume(self, filename: str, *args, **kwargs) -> None:
        """Resume, with the settings of the config where those are asked for or needed."""
        seed = self.seed
        built = isinstance(self.optim_wrapper, OptimWrapper)
        asked = group_settings(self.optim_wrapper) if built else None
        super().resume(filename, *args, **kwargs)
        if self.new_settings and self.seed != seed:  # the sampler has it already
            self.set_randomness(**dict(self.cfg.get('randomness') or {}, seed=seed))
        loop = self.train_loop
        recounted = isinstance(loop, CosubEpochTrainLoop) and loop.recount()
        if asked and (self.new_settings or recounted):
            take_settings(self, asked)
        if isinstance(loop, GathersAgain):
            loop.gathered = gathered_steps(self)

    def scale_lr(self, optim_wrapper: OptimWrapper, auto_scale_lr: dict | None = None) -> None:
        """Scale every group's learning rate to the global batch, accumulation included.

        Raises:
            ValueError: no ``base_batch_size``, or an unknown ``rule``.
        """
        if not auto_scale_lr or not auto_scale_lr.get('enable', False):
            return
        batch = global_batch_size(self.cfg, self.world_size)
        factor = lr_factor(auto_scale_lr, batch)
        self.logger.info(
            f'learning rate x {factor:g}: the recipe is for a global batch of '
            f'{auto_scale_lr["base_batch_size"]}, this run has {batch} '
            f'({auto_scale_lr.get("rule", "linear")} rule)'
        )
        wrappers = optim_wrapper.values() if hasattr(optim_wrapper, 'values') else [optim_wrapper]
        for wrapper in wrappers:
            for group in wrapper.param_groups:  # with the base rate that the log shows
                group['lr'] *= factor

    @master_only
    def dump_config(self) -> None:
        """Write the config to the work dir; of a test to its log dir, beside its results.

        A test's config lacks the training, and must not replace the one the weights came from.
        """
        folder = self.work_dir if self._train_loop is not None else self.log_dir
        name = Path(self.cfg.filename).name if self.cfg.filename else f'{self.timestamp}.py'
        self.cfg.dump(str(Path(folder) / name))

    def save_checkpoint(self, out_dir: str, filename: str, *args, **kwargs) -> None:
        """Save a checkpoint under a temporary name, then rename it.

        Arguments are mmengine's. A directory on a remote store is written as mmengine does it:
        such stores show an object only when it is complete.

        Raises:
            NonFiniteWeightsError: weights that are no numbers are not saved, in no process.
        """
        check_before_save(self)
        kwargs['meta'] = dict(
            kwargs.get('meta') or {},
            world_size=get_world_size(),
            cosub_mm_version=__version__,
            code=code_version(),
        )
        error = [None]
        try:
            self._save_checkpoint(out_dir, filename, *args, **kwargs)
        except OSError as caught:
            error = [caught]
        if self.fail_together:
            broadcast_object_list(error)
        if error[0] is not None:
            raise error[0]

    def _save_checkpoint(self, out_dir: str, filename: str, *args, **kwargs) -> None:
        if '://' in str(out_dir) or not is_main_process():
            super().save_checkpoint(out_dir, filename, *args, **kwargs)
            return
        with replacing(Path(out_dir) / filename) as part:
            super().save_checkpoint(str(out_dir), part.name, *args, **kwargs)
