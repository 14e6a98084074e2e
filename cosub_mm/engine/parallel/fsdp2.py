"""FSDP2: parameters, gradients and optimizer states spread over the processes."""

from collections.abc import Sequence

import torch
from mmengine.dist import broadcast, get_world_size
from mmengine.hooks import EMAHook
from mmengine.optim import OptimWrapper
from mmengine.registry import MODEL_WRAPPERS
from torch import nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import fully_shard

from ..execution import named_parts
from .whole import loads_whole

__all__ = ['CosubFSDP2']


@MODEL_WRAPPERS.register_module()
class CosubFSDP2(nn.Module):
    """Spread a model over the processes by torch's ``fully_shard``, tensor by tensor.

    Each process keeps its rows of every parameter, of the gradient and of the optimizer's states;
    a part of the model is put together for its forward and backward pass. Each parameter stays one
    tensor (a ``DTensor``), so that norms of parameters and gradients are those of the whole.

    The model stays whole until the runner builds the optimizer, so that what initialises, changes
    or copies it (weights to start from, stochastic depth, an average) sees all of it; a test never
    spreads it. With ``accumulative_counts`` gradients are added up in parts, behind each batch:
    more is sent, nothing whole is kept.

    Args:
        module: the model.
        modules: names of parts that are put together one at a time; a list of modules stands for
            each of them. The rest of the model is one more part.
        reshard_after_forward: let go of a part behind its forward pass and send it once more for
            backward. False keeps all parts until then: less is sent, and memory is that of ZeRO-2.
    """

    def __init__(
        self,
        module: nn.Module,
        modules: Sequence[str] | str = ('backbone.layers',),
        reshard_after_forward: bool = True,
    ) -> None:
        super().__init__()
        self.module = module
        self.reshard_after_forward = reshard_after_forward
        self.names = modules
        self.sharded = False
        named_parts(module, modules, 'model_wrapper_cfg.modules')

    def shard(self, hooks: Sequence = ()) -> None:
        """Spread the model, with the first process's values, and the averages that hooks keep.

        Args:
            hooks: of the runner.

        Raises:
            ValueError: a torch whose FSDP2 needs GPUs, and there are none; or a model with hooks of
                its own, as that of a mean teacher.
        """
        hooks_of_model = getattr(self.module, 'own_hooks', ())
        if hooks_of_model:
            named = ', '.join(str(hook['type']).rpartition('.')[2] for hook in hooks_of_model)
            raise ValueError(
                f'{type(self.module).__name__} under FSDP2: its hooks ({named}) keep a copy of the '
                f'model, which cannot be made of one in parts. Take zero1.py or ddp.py of '
                f'configs/_base_/parallel/.'
            )
        device = next(self.module.parameters()).device.type
        if device == 'cpu' and not hasattr(torch.cpu.Stream, 'record_event'):
            raise ValueError(
                f'FSDP2 of torch {torch.__version__} works on GPUs only. On the CPU take a newer '
                f'torch (2.11 has been tried), or zero1.py or ddp.py of configs/_base_/parallel/.'
            )
        mesh = init_device_mesh(device, (get_world_size(),))
        for tensor in self.module.state_dict().values():
            broadcast(tensor)
        self._shard(self.module, mesh)
        self.sharded = True
        for hook in hooks:
            if isinstance(hook, EMAHook):
                _shard_average(hook, lambda module: self._shard(module, mesh))

    def _shard(self, module: nn.Module, mesh: DeviceMesh) -> None:
        for part in named_parts(module, self.names, 'model_wrapper_cfg.modules'):
            fully_shard(part, mesh=mesh, reshard_after_forward=self.reshard_after_forward)
        fully_shard(module, mesh=mesh)
        loads_whole(module)

    def forward(self, *args, **kwargs) -> object:
        """The model's."""
        return self.module(*args, **kwargs)

    def train_step(self, data: dict, optim_wrapper: OptimWrapper) -> dict[str, torch.Tensor]:
        """The model's."""
        return self.module.train_step(data, optim_wrapper)

    def val_step(self, data: dict) -> list:
        """The model's."""
        return self._in_parts_again(self.module.val_step(data))

    def test_step(self, data: dict) -> list:
        """The model's."""
        return self._in_parts_again(self.module.test_step(data))

    def _in_parts_again(self, results: list) -> list:
        # The outermost part stays whole for a backward pass that does not come.
        if self.sharded:
            self.module.reshard()
        return results


def _shard_average(hook: EMAHook, shard) -> None:
    average = hook.ema_model
    shard(average.module)
    # It looked up the tensors that it averages when they were whole.
    whole_state = average.update_buffers
    module = average.module
    average.avg_parameters = module.state_dict() if whole_state else dict(module.named_parameters())
