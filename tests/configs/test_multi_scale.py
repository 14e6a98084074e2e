"""The sizes at which the multi-scale test really shows a picture to the model."""

from pathlib import Path

import numpy as np
import pytest
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.registry import init_default_scope
from PIL import Image

import cosub_mm  # noqa: F401
from cosub_mm.launch.tta import enable_tta
from tests.configs.recipe_table import paper_configs

CONFIGS = Path(__file__).parents[2] / 'configs'
ADE20K = paper_configs('ade20k')
DEMO = sorted((CONFIGS / 'demo').glob('upernet_*.py'))

# (width, height) of a picture -> at ratio 1, with (2048, 512) and (2560, 640) to fit into:
# 512 / 211 of the first, 2048 / 1333 of the second, whose long side is the limit.
SHOWN = {
    (317, 211): {512: (769, 512), 640: (962, 640)},
    (1333, 97): {512: (2048, 149), 640: (2560, 186)},
}
RATIOS = (0.5, 0.75, 1.0, 1.25, 1.5, 1.75)


@pytest.fixture(scope='module')
def pictures(tmp_path_factory):
    root = tmp_path_factory.mktemp('pictures')
    for width, height in SHOWN:
        pixels = np.zeros((height, width, 3), np.uint8)
        Image.fromarray(pixels).save(root / f'{width}.jpg')
        Image.fromarray(pixels[..., 0]).save(root / f'{width}.png')
    return root


@pytest.fixture(scope='module')
def shown_sizes(pictures):
    """(width, height) of each view of a picture that ``--tta`` makes, and whether it is flipped."""
    seen = {}

    def sizes(path, width):
        cfg = Config.fromfile(path)
        # It would come before the tool's, and the two could differ again.
        assert 'tta_pipeline' not in cfg
        enable_tta(cfg)
        pipeline = cfg.test_dataloader.dataset.pipeline
        key = (str(pipeline), width)
        if key not in seen:
            seen[key] = sizes_of_views(pipeline, pictures, width)
        return seen[key]

    return sizes


def sizes_of_views(pipeline, pictures, width):
    init_default_scope('mmseg')
    sample = dict(
        img_path=str(pictures / f'{width}.jpg'),
        seg_map_path=str(pictures / f'{width}.png'),
        seg_fields=[],
        reduce_zero_label=True,
        label_map=None,
    )
    views = Compose(pipeline)(sample)
    return [
        (tuple(view.shape[:0:-1]), sample.flip)
        for view, sample in zip(views['inputs'], views['data_samples'])
    ]


@pytest.mark.parametrize('path', ADE20K, ids=lambda path: path.stem)
def test_ade20k_is_scaled_from_the_size_of_the_test(path, shown_sizes):
    """Swin's and DeiT III's protocol: ratios of (2048, 512), or (2560, 640), not of the file."""
    size = 640 if path.stem.endswith('640') else 512
    for (width, _), shown in SHOWN.items():
        sizes = shown_sizes(path, width)
        expected = [(ratio * shown[size][0], ratio * shown[size][1]) for ratio in RATIOS]
        assert [flip for _, flip in sizes] == [False, True] * 6
        # A side is rounded to whole pixels once at every ratio.
        np.testing.assert_allclose([s for s, _ in sizes[::2]], expected, atol=1.01)
        assert [s for s, _ in sizes[1::2]] == [s for s, _ in sizes[::2]]


@pytest.mark.parametrize('path', DEMO, ids=lambda path: path.stem)
def test_demo_has_three_ratios_of_the_picture_and_no_mirror_image(path, shown_sizes):
    sizes = [(237, 158), (317, 211), (396, 264)]
    assert shown_sizes(path, 317) == [(size, False) for size in sizes]


@pytest.mark.parametrize(
    'change, says',
    [
        (dict(tta_ratios=(0.5, -1)), 'positive numbers'),
        (dict(tta_ratios=()), 'positive numbers'),
        (dict(tta_ratios=0.5), 'positive numbers'),
        (dict(tta_ratios=(1.0,), tta_pipeline=[dict(type='Mine')]), 'its own tta_pipeline'),
        (dict(tta_ratios=(1.0,), default_scope='mmpretrain'), 'one scale'),
        (dict(tta_flip=False, default_scope='mmpretrain'), 'single view'),
    ],
)
def test_ratios_that_cannot_be_meant(change, says):
    cfg = Config.fromfile(ADE20K[0])
    cfg.merge_from_dict(change)
    with pytest.raises(ValueError, match=says):
        enable_tta(cfg)
