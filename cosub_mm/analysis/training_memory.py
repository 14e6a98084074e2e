"""How much memory training takes, estimated from a small forward pass on the CPU."""

from contextlib import nullcontext
from typing import NamedTuple

import torch
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope
from torch import nn
from torch.autograd.graph import saved_tensors_hooks

from cosub_mm.engine.execution import checkpoint_activations, named_parts
from cosub_mm.engine.parallel import is_zero

__all__ = ['TrainingMemory', 'estimate_memory', 'way_of']

# Values that an optimizer keeps of each trained one.
MOMENTS = dict(SGD=1, Adam=2, AdamW=2, Lamb=2, CosubLamb=2)
SMALL = (2, 4)  # images in the two passes


class TrainingMemory(NamedTuple):
    """Bytes of a training on one device.

    Attributes:
        fixed: parameters, buffers, gradients, the optimizer's moments and the average (EMA), as far
            as they lie on one device.
        per_image: what forward keeps for backward, by image.
    """

    fixed: int
    per_image: int

    def largest_batch(self, memory: float, spare: float = 0.2) -> int:
        """Images that fit.

        Args:
            memory: of the device, in bytes.
            spare: share left for what is not counted: passing results, libraries, fragments.
        """
        return max(0, int((memory * (1 - spare) - self.fixed) // self.per_image))


def way_of(cfg: Config) -> str:
    """How a config spreads a training over its processes: 'DDP', 'ZeRO-1' or 'FSDP2'."""
    if 'FSDP2' in str((cfg.get('model_wrapper_cfg') or {}).get('type')):
        return 'FSDP2'
    zero = cfg.get('shard_optimizer') or is_zero(cfg.optim_wrapper.optimizer)
    return 'ZeRO-1' if zero else 'DDP'


def estimate_memory(cfg: Config, bf16: bool = False, gpus: int = 1) -> TrainingMemory:
    """Measure a classifier's forward pass on 2 and 4 random images; no backward is needed.

    Args:
        cfg: config of a classifier.
        bf16: count the activations of mixed precision (``--amp``).
        gpus: among which ZeRO-1 and FSDP2 spread what they spread.

    Raises:
        ValueError: a segmentor, or an optimizer whose moments are unknown.
    """
    if cfg.get('default_scope') != 'mmpretrain':
        raise ValueError(
            'memory is estimated for classifiers only; give --largest N, the images that fit.'
        )
    optimizer = cfg.optim_wrapper.optimizer
    kind = optimizer.get('optimizer_type') if is_zero(optimizer) else optimizer.type
    kind = str(kind).rpartition('.')[2]
    if kind not in MOMENTS:
        raise ValueError(f'the moments of optimizer {kind} are unknown; known are {set(MOMENTS)}.')
    init_default_scope('mmpretrain')
    torch.manual_seed(0)
    preprocessor = cfg.get('data_preprocessor')  # the Runner puts it into the model
    settings = dict(data_preprocessor=preprocessor) if preprocessor else {}
    model = MODELS.build({**settings, **cfg.model}).train()
    checkpoint_activations(model, cfg.get('activation_checkpointing'))
    few, many = (_saved_bytes(model, images, cfg, bf16) for images in SMALL)
    averages = sum('EMAHook' in str(hook.get('type')) for hook in cfg.get('custom_hooks') or [])
    fixed = _fixed_bytes(model, cfg, averages, MOMENTS[kind], gpus)
    return TrainingMemory(fixed, (many - few) // (SMALL[1] - SMALL[0]))


def _fixed_bytes(model: nn.Module, cfg: Config, averages: int, moments: int, gpus: int) -> int:
    buffers = sum(buffer.nbytes for buffer in model.buffers())
    weights = sum(p.nbytes for p in model.parameters())
    trained = sum(p.nbytes for p in model.parameters() if p.requires_grad)
    averaged = averages * (weights + buffers)
    way = way_of(cfg)
    if way != 'FSDP2':
        share = gpus if way == 'ZeRO-1' else 1
        return weights + buffers + averaged + trained + moments * trained // share
    wrapper = cfg.model_wrapper_cfg
    parts = named_parts(model, wrapper.get('modules', ['backbone.layers']), 'modules')
    sizes = sorted(sum(p.nbytes for p in part.parameters()) for part in parts)
    whole = weights if not wrapper.get('reshard_after_forward', True) else 0
    # The part at work and the next one, and the gradients of one before they are spread; the rest
    # of the model is one part, which stays whole between forward and backward.
    whole = whole or weights - sum(sizes) + sum(sizes[-2:])
    whole += max([weights - sum(sizes), *sizes])
    in_parts = weights + averages * weights + trained * (1 + moments)
    return in_parts // gpus + buffers * (1 + averages) + whole


def _saved_bytes(model: nn.Module, images: int, cfg: Config, bf16: bool) -> int:
    """Bytes that forward keeps, each storage once; the tensors themselves are let go."""
    own = {tensor.untyped_storage().data_ptr() for tensor in model.parameters()}
    found: dict[int, tuple[torch.UntypedStorage, int]] = {}

    def note(tensor: torch.Tensor) -> None:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            found[storage.data_ptr()] = (storage, storage.nbytes())

    side = _side(cfg)
    data = dict(inputs=torch.zeros(images, 3, side, side), data_samples=_labelled(images))
    data = model.data_preprocessor(data, training=True)
    precision = torch.autocast('cpu', torch.bfloat16) if bf16 else nullcontext()
    with precision, saved_tensors_hooks(note, lambda nothing: nothing):
        model(**data, mode='loss')
    return sum(size for _, size in found.values())


def _labelled(images: int) -> list:
    from mmpretrain.structures import DataSample

    return [DataSample().set_gt_label(number % 2) for number in range(images)]


def _side(cfg: Config) -> int:
    """Side of a training image: that of the last transform that sets one."""
    for step in reversed(cfg.train_dataloader.dataset.pipeline):
        size = step.get('crop_size') or step.get('scale')
        if size:
            return size if isinstance(size, int) else size[0]
    return cfg.model.backbone.get('img_size', 224)
