"""A config's training pipeline written with torchvision and with timm, to measure ours beside them.

Each counterpart is a list of named steps, from a path to a uint8 tensor, so that each of them can
be timed. timm's and torchvision's on Pillow give the pixels of ours where the recipe is
DeiT III's; torchvision's v2 on tensors gives others, as it decodes and resizes by itself.
"""

import io
from collections.abc import Callable, Sequence
from types import ModuleType

import torch
from PIL import Image
from timm.data.transforms_factory import transforms_imagenet_train
from torch import Tensor
from torch.utils.data import Dataset
from torchvision import transforms as tv
from torchvision.io import ImageReadMode, decode_image
from torchvision.transforms import v2

from cosub_mm.datasets.decoding import read_file

__all__ = [
    'StepImages',
    'Steps',
    'TorchvisionImages',
    'timm_steps',
    'torchvision_pipeline',
    'torchvision_steps',
]

_BICUBIC = tv.InterpolationMode.BICUBIC

Steps = list[tuple[str, Callable]]


class StepImages(Dataset):
    """Images by address through named steps.

    Args:
        paths: files, or addresses of mmengine's file backends.
        steps: the first takes an address, each other what the one before gave.
    """

    def __init__(self, paths: Sequence[str], steps: Steps) -> None:
        self.paths, self.steps = list(paths), steps

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Tensor:
        value = self.paths[index]
        for _, step in self.steps:
            value = step(value)
        return value


class TorchvisionImages(StepImages):
    """Images by address through a torchvision transform of PIL images."""

    def __init__(self, paths: list[str], transform: Callable[[Image.Image], Tensor]) -> None:
        super().__init__(paths, [('decode', _decode), ('transform', transform)])


def torchvision_pipeline(pipeline: list[dict]) -> Callable[[Image.Image], Tensor]:
    """The steps of a pipeline after loading, from torchvision's own transforms.

    Args:
        pipeline: configs of our transforms, from loading to packing.

    Raises:
        ValueError: a step that torchvision has no counterpart for.
    """
    return tv.Compose([step for _, step in torchvision_steps(pipeline)[1:]])


def torchvision_steps(pipeline: list[dict], tensors: bool = False) -> Steps:
    """The same pipeline from torchvision's own transforms.

    Args:
        pipeline: configs of our transforms, from loading to packing.
        tensors: decode to tensors and use ``transforms.v2`` on them, instead of Pillow.

    Raises:
        ValueError: a step that torchvision has no counterpart for.
    """
    kit = v2 if tensors else tv
    steps: Steps = [('decode', _decode_tensor if tensors else _decode)]
    for step in _between_loading_and_packing(pipeline):
        name = step['type'].rpartition('.')[2]
        if name not in _COUNTERPARTS:
            raise ValueError(
                f'torchvision has no counterpart for {name!r}; known are '
                f'{", ".join(sorted(_COUNTERPARTS))}.'
            )
        steps += [(name, one) for one in _COUNTERPARTS[name](step, kit)]
    return steps if tensors else [*steps, ('pack', tv.PILToTensor())]


def timm_steps(pipeline: list[dict]) -> Steps | None:
    """The same pipeline from timm's transforms as its prefetching loader uses them: uint8 tensors.

    The simple random crop, which timm lacks, is torchvision's in both DeiT III's code and here.

    Args:
        pipeline: configs of our transforms, from loading to packing.

    Returns:
        The steps; None for a pipeline that is not a crop, a flip and 3-Augment or RandAugment.
    """
    steps = list(_between_loading_and_packing(pipeline))
    names = [step['type'].rpartition('.')[2] for step in steps]
    if len(names) != 3 or names[1] != 'RandomFlip' or names[0] not in _CROPS:
        return None
    crop, flip, augment = steps
    if names[2] == 'ThreeAugment':
        settings = dict(auto_augment='3a', color_jitter=augment.get('color_jitter', 0.3))
    elif names[2] == 'RandAugment' and augment.get('policies') == 'timm_increasing':
        settings = dict(auto_augment=_rand_augment_name(augment))
    else:
        return None
    primary, secondary, final = transforms_imagenet_train(
        crop.get('scale', crop.get('size')),
        hflip=flip['prob'],
        interpolation='bicubic',
        use_prefetcher=True,
        separate=True,
        **settings,
    )
    first, *turn = primary.transforms
    crops = [first] if names[0] == 'RandomResizedCrop' else _simple_random_crop(crop, tv)
    return [
        ('decode', _decode),
        *((names[0], one) for one in crops),
        *(('RandomFlip', one) for one in turn),
        *((names[2], one) for one in secondary.transforms),
        *(('pack', one) for one in final.transforms),
    ]


def _between_loading_and_packing(pipeline: list[dict]) -> list[dict]:
    ends = ('LoadImageFromFile', 'LoadPicture', 'PackInputs')
    return [dict(s, type=str(s['type'])) for s in pipeline if not str(s['type']).endswith(ends)]


def _decode(path: str) -> Image.Image:
    with Image.open(io.BytesIO(read_file(path))) as image:
        return image.convert('RGB')


def _decode_tensor(path: str) -> Tensor:
    content = bytearray(read_file(path))
    return decode_image(torch.frombuffer(content, dtype=torch.uint8), ImageReadMode.RGB)


def _rand_augment_name(step: dict) -> str:
    deviation = step.get('magnitude_std', 0)
    return f'rand-m{step["magnitude_level"]}-n{step["num_policies"]}-mstd{deviation}-inc1'


def _simple_random_crop(step: dict, kit: ModuleType) -> list[Callable]:
    size, padding = step['size'], step.get('padding', 4)
    crop = kit.RandomCrop(size, padding=padding, padding_mode='reflect')
    return [kit.Resize(size, interpolation=_BICUBIC), crop]


def _three_augment(step: dict, kit: ModuleType) -> list[Callable]:
    strength = step.get('color_jitter', 0.3)
    one_of = [
        kit.RandomSolarize(128, p=1.0),
        kit.Grayscale(num_output_channels=3),
        # As wide as PIL's largest radius reaches; torchvision's width is fixed.
        kit.GaussianBlur(kernel_size=9, sigma=(0.1, 2.0)),
    ]
    return [kit.RandomChoice(one_of), kit.ColorJitter(strength, strength, strength)]


def _rand_augment(step: dict, kit: ModuleType) -> list[Callable]:
    # v2 turns and shears tensors bilinearly at best.
    mode = tv.InterpolationMode.BILINEAR if kit is v2 else _BICUBIC
    return [kit.RandAugment(step['num_policies'], step['magnitude_level'], interpolation=mode)]


_CROPS = ('RandomResizedCrop', 'SimpleRandomCrop')
_COUNTERPARTS: dict[str, Callable[[dict, ModuleType], list[Callable]]] = {
    'RandomResizedCrop': lambda s, t: [t.RandomResizedCrop(s['scale'], interpolation=_BICUBIC)],
    'SimpleRandomCrop': _simple_random_crop,
    'RandomFlip': lambda s, t: [t.RandomHorizontalFlip(s['prob'])],
    'ThreeAugment': _three_augment,
    'RandAugment': _rand_augment,
    'ResizeEdge': lambda s, t: [t.Resize(s['scale'], interpolation=_BICUBIC)],
    'CenterCrop': lambda s, t: [t.CenterCrop(s['crop_size'])],
}
