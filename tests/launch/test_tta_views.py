"""What ``--tta`` shows a classifier: the picture and its mirror image."""

import numpy as np
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmpretrain.registry import TRANSFORMS

import cosub_mm  # noqa: F401
from cosub_mm.launch.tta import enable_tta


def test_a_classifier_sees_the_picture_and_its_mirror_image():
    pipeline = [dict(type='LoadImageFromFile'), dict(type='PackInputs')]
    cfg = Config(
        dict(
            default_scope='mmpretrain',
            model=dict(type='ImageClassifier'),
            test_dataloader=dict(dataset=dict(pipeline=pipeline)),
        )
    )
    enable_tta(cfg)
    init_default_scope('mmpretrain')
    image = np.random.default_rng(0).integers(256, size=(4, 5, 3), dtype=np.uint8)
    (views,) = cfg.test_dataloader.dataset.pipeline[1:]
    seen = TRANSFORMS.build(views)(dict(img=image))['inputs']
    picture = torch.from_numpy(image).permute(2, 0, 1)
    assert len(seen) == 2
    assert torch.equal(seen[0], picture)
    assert torch.equal(seen[1], picture.flip(-1))
