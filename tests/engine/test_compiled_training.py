"""A whole compiled training: mixing of images, a short last batch, validation."""

import pytest
import torch
from mmengine.registry import DATASETS
from mmpretrain.structures import DataSample
from torch.utils.data import Dataset

from cosub_mm.engine.execution import ExecutionError, compile_options
from cosub_mm.launch.arguments import train_arguments
from tests.engine.toy import built, config

ARCH = dict(embed_dims=16, num_layers=2, num_heads=2, feedforward_channels=32)
MODEL = dict(
    type='mmpretrain.CosubClassifier',
    backbone=dict(type='CosubViT', arch=ARCH, img_size=32, patch_size=8, drop_path_rate=0.4),
    head=dict(type='LinearClsHead', num_classes=3, in_channels=16),
    drop_path_rate=0.4,
    data_preprocessor=dict(num_classes=3, mean=[0] * 3, std=[1] * 3),
    train_cfg=dict(augments=[dict(type='Mixup', alpha=0.8), dict(type='CutMix', alpha=1.0)]),
)
graphs: list[int] = []


def counting(module, inputs):
    """A backend that runs what was traced as it is, and notes the rows of each graph."""
    pictures = [x for x in inputs if isinstance(x, torch.Tensor) and x.shape[1:] == (3, 32, 32)]
    graphs.append(len(pictures[0]))
    return module.forward


if 'counting' not in torch._dynamo.list_backends(exclude_tags=()):
    torch._dynamo.register_backend(counting, name='counting')


@DATASETS.register_module(force=True)
class ToyPictures(Dataset):
    def __init__(self, images: int) -> None:
        self.images = images

    def __len__(self) -> int:
        return self.images

    def __getitem__(self, index: int) -> dict:
        picture = torch.rand(3, 32, 32, generator=torch.Generator().manual_seed(index))
        return dict(inputs=picture, data_samples=DataSample().set_gt_label(index % 3))


def loader(images: int) -> dict:
    return dict(
        dataset=dict(type='ToyPictures', images=images),
        batch_size=4,
        num_workers=0,
        sampler=dict(type='DefaultSampler', shuffle=False),
        collate_fn=dict(type='default_collate'),
    )


def test_nothing_is_compiled_behind_the_first_epoch(tmp_path):
    graphs.clear()
    torch._dynamo.reset()
    cfg = config(
        tmp_path,
        model=MODEL,
        default_scope='mmpretrain',
        compile=dict(backend='counting', fullgraph=True),
        train_dataloader=loader(10),  # the last batch has two images
        val_dataloader=loader(7),
        val_cfg=dict(),
        val_evaluator=dict(type='mmpretrain.Accuracy', topk=(1,)),
        train_cfg=dict(by_epoch=True, max_epochs=2, val_interval=1),
    )
    runner = built(cfg)
    of_an_epoch = []
    end = runner.call_hook

    def note(name, **kwargs):
        end(name, **kwargs)
        if name == 'after_val_epoch':
            of_an_epoch.append(len(graphs))

    runner.call_hook = note
    runner.train()
    first, second = of_an_epoch
    # One graph for the first size and one for all others, each in training and in evaluation;
    # the batch is copied behind the stem.
    assert graphs[0] == 4 and first <= 4
    assert first == second
    weights = runner.model.state_dict()
    assert all(value.isfinite().all() for value in weights.values())


@pytest.mark.parametrize('mode', ['reduce-overhead', 'max-autotune'])
def test_modes_that_replay_cuda_graphs_are_refused(mode):
    with pytest.raises(ExecutionError, match=rf"mode='{mode}'.*CUDA graphs.*no-cudagraphs"):
        compile_options(dict(mode=mode))
    assert compile_options(dict(mode='max-autotune-no-cudagraphs'))


def test_the_command_line_asks_for_it():
    assert train_arguments(['x.py', '--compile']).compile
    assert not train_arguments(['x.py']).compile
