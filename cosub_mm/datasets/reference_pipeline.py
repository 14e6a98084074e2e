"""A config's training pipeline written with torchvision, to measure ours against it."""

import io
from collections.abc import Callable

from mmengine import fileio
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset
from torchvision import transforms as tv

__all__ = ['TorchvisionImages', 'torchvision_pipeline']

_BICUBIC = tv.InterpolationMode.BICUBIC


class TorchvisionImages(Dataset):
    """Images by address through a torchvision transform.

    Args:
        paths: files, or addresses of mmengine's file backends.
        transform: from a PIL image to a tensor.
    """

    def __init__(self, paths: list[str], transform: Callable[[Image.Image], Tensor]) -> None:
        self.paths = paths
        self.transform = transform

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Tensor:
        with Image.open(io.BytesIO(fileio.get(self.paths[index]))) as image:
            return self.transform(image.convert('RGB'))


def torchvision_pipeline(pipeline: list[dict]) -> Callable[[Image.Image], Tensor]:
    """The same steps from torchvision's own transforms.

    Args:
        pipeline: configs of our transforms, from loading to packing.

    Raises:
        ValueError: a step that torchvision has no counterpart for.
    """
    steps = []
    for step in pipeline:
        name = str(step['type']).rpartition('.')[2]
        if name in ('LoadImageFromFile', 'PackInputs'):
            continue
        if name not in _COUNTERPARTS:
            raise ValueError(
                f'torchvision has no counterpart for {name!r}; known are '
                f'{", ".join(sorted(_COUNTERPARTS))}.'
            )
        steps += _COUNTERPARTS[name](step)
    return tv.Compose([*steps, tv.PILToTensor()])


def _simple_random_crop(step: dict) -> list[Callable]:
    size, padding = step['size'], step.get('padding', 4)
    crop = tv.RandomCrop(size, padding=padding, padding_mode='reflect')
    return [tv.Resize(size, interpolation=_BICUBIC), crop]


def _three_augment(step: dict) -> list[Callable]:
    strength = step.get('color_jitter', 0.3)
    one_of = [
        tv.RandomSolarize(128, p=1.0),
        tv.Grayscale(num_output_channels=3),
        # As wide as PIL's largest radius reaches; torchvision's width is fixed.
        tv.GaussianBlur(kernel_size=9, sigma=(0.1, 2.0)),
    ]
    return [tv.RandomChoice(one_of), tv.ColorJitter(strength, strength, strength)]


_COUNTERPARTS: dict[str, Callable[[dict], list[Callable]]] = {
    'RandomResizedCrop': lambda s: [tv.RandomResizedCrop(s['scale'], interpolation=_BICUBIC)],
    'SimpleRandomCrop': _simple_random_crop,
    'RandomFlip': lambda s: [tv.RandomHorizontalFlip(s['prob'])],
    'ThreeAugment': _three_augment,
    'RandAugment': lambda s: [
        tv.RandAugment(s['num_policies'], s['magnitude_level'], interpolation=_BICUBIC)
    ],
    'ResizeEdge': lambda s: [tv.Resize(s['scale'], interpolation=_BICUBIC)],
    'CenterCrop': lambda s: [tv.CenterCrop(s['crop_size'])],
}
