"""ImageNet's validation images with those of ImageNet-V2 beside them."""

from pathlib import Path

from mmpretrain.datasets import ImageNet
from mmpretrain.registry import DATASETS

from cosub_mm.safe_files import UnsafeFileError, regular_names

__all__ = ['ImageNetValV2']


@DATASETS.register_module()
class ImageNetValV2(ImageNet):
    """The 50,000 validation images of ImageNet-1k and the 10,000 of ImageNet-V2.

    The paper reports both (Tables 6 to 12). Each sample carries its ``source``, ``'val'`` or
    ``'v2'``, by which :class:`cosub_mm.evaluation.AccuracyBySource` keeps them apart;
    ``PackInputs`` needs ``'source'`` among its ``meta_keys``.

    Args:
        data_root: root of ImageNet, which holds ``val/CLASS/IMAGE``.
        v2_root: folder ``imagenetv2-matched-frequency-format-val`` with the class folders 0 to 999;
            None leaves ImageNet-V2 out.
        **kwargs: further arguments of mmpretrain's ImageNet.

    Raises:
        FileNotFoundError: ``v2_root`` does not exist.
        ValueError: a class folder that is no number of a class, or one without images.
    """

    def __init__(self, data_root: str = '', v2_root: str | None = None, **kwargs) -> None:
        self.v2_root = v2_root
        super().__init__(data_root=data_root, split='val', **kwargs)

    def load_data_list(self) -> list[dict]:
        """Validation images first, then those of ImageNet-V2."""
        data = [dict(item, source='val') for item in super().load_data_list()]
        if self.v2_root is not None:
            data += self._v2_images(Path(self.v2_root))
        return data

    def _v2_images(self, root: Path) -> list[dict]:
        if not root.is_dir():
            raise FileNotFoundError(
                f"There is no ImageNet-V2 at '{root}'. Unpack "
                f'imagenetv2-matched-frequency.tar.gz (github.com/modestyachts/ImageNetV2) there, '
                f'or leave it out by --cfg-options test_dataloader.dataset.v2_root=None.'
            )
        num_classes = len(self.metainfo['classes'])
        data: list[dict] = []
        # The folders are named by number and must not be sorted as words: 10 follows 9, not 1.
        for folder in sorted((f for f in root.iterdir() if f.is_dir()), key=lambda f: f.name):
            if not folder.name.isdecimal() or int(folder.name) >= num_classes:
                raise ValueError(
                    f"'{folder}' is no class of ImageNet-V2: its folders are the numbers 0 to "
                    f'{num_classes - 1}.'
                )
            images = [f for f in sorted(folder.iterdir()) if self.is_valid_file(str(f))]
            if not images:
                raise ValueError(f"The class folder '{folder}' of ImageNet-V2 holds no image.")
            regular, label = regular_names(folder), int(folder.name)
            for file in images:
                if file.name not in regular:
                    raise UnsafeFileError(f"'{file}' is no regular file. Remove it.")
            data += [dict(img_path=str(f), gt_label=label, source='v2') for f in images]
        return data
