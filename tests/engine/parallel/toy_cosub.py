"""A cosub classifier whose draws depend on its pictures, so that processes can be compared.

Two processes draw other submodels than one process with their batches put together. Here each
picture has a number; a process seeds itself by the first of its batch, and a single process goes
through the shares of both processes one after the other, each with the seed that it has there. So
the same rows are dropped, the same copies teach each other, and the losses' mean is the same.
"""

from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.evaluator import BaseMetric
from mmengine.model import BaseDataPreprocessor
from mmengine.registry import DATASETS, METRICS, MODELS
from mmpretrain.structures import DataSample
from torch.utils.data import Dataset

from cosub_mm.models.classifiers import CosubClassifier

STEPS, BATCH = 3, 4  # an epoch; of all processes together
NOT_A_NUMBER = 5  # the picture of the second step that belongs to the second process
SAVE = dict(type='CheckpointHook', interval=1)
MODEL = dict(
    type='SharesClassifier',
    backbone=dict(
        type='CosubViT',
        img_size=8,
        patch_size=4,
        drop_path_rate=0.3,
        arch=dict(embed_dims=6, num_layers=2, num_heads=2, feedforward_channels=10),
    ),
    head=dict(type='LinearClsHead', num_classes=3, in_channels=6),
    data_preprocessor=dict(type='Stacked'),
)


@MODELS.register_module(force=True)
class Stacked(BaseDataPreprocessor):
    def __init__(self, batch_augments=None) -> None:
        super().__init__()

    def forward(self, data, training=False):
        label = data['label']
        samples = [DataSample().set_gt_label(int(one)) for one in label]
        return dict(inputs=data['x'], data_samples=samples)


@MODELS.register_module(force=True)
class SharesClassifier(CosubClassifier):
    """In float64.

    Args:
        shares: that a batch is taken in.
        infinite: a picture that is no number makes the loss infinite and leaves the gradients.
    """

    def __init__(self, shares: int = 1, infinite: bool = False, **settings) -> None:
        super().__init__(**settings)
        self.shares, self.infinite = shares, infinite
        self.double()

    def loss(self, inputs, data_samples):
        if not self.training:
            return super().loss(inputs, data_samples)
        total = {}
        for share in range(self.shares):
            mine, samples = inputs[share :: self.shares], data_samples[share :: self.shares]
            more = 0.0
            if self.infinite and mine.isnan().any():
                mine, more = mine.nan_to_num(), torch.inf
            torch.manual_seed(int(mine[0, 0, 0, 0] * 1e6))
            for name, value in super().loss(mine, samples).items():
                total[name] = total.get(name, 0) + value / self.shares + more
        return total


@DATASETS.register_module(force=True)
class Pictures(Dataset):
    def __len__(self) -> int:
        return STEPS * BATCH

    def __getitem__(self, index: int) -> dict:
        x = torch.arange(192, dtype=torch.float64).mul(index + 1).sin().view(3, 8, 8)
        if index == NOT_A_NUMBER:
            x[1, 1, 1] = torch.nan
        return dict(x=x, label=index % 3)


@METRICS.register_module(force=True)
class MeanScore(BaseMetric):
    """How sure the model is of its predictions, which tells weights apart."""

    def process(self, data_batch, data_samples):
        self.results += [float(sample['pred_score'].max().nan_to_num()) for sample in data_samples]

    def compute_metrics(self, results):
        return dict(sure=sum(results) / len(results))


def config(work_dir: Path, processes: int, optim_wrapper: dict, **changes) -> Config:
    """A training of two epochs, with a checkpoint each, and a validation by averaged weights."""
    loader = dict(
        dataset=dict(type='Pictures'),
        batch_size=BATCH // processes,
        num_workers=0,
        sampler=dict(type='DefaultSampler', shuffle=False),
        collate_fn=dict(type='default_collate'),
    )
    settings = dict(
        model=dict(MODEL, shares=2 // processes),
        work_dir=str(work_dir),
        launcher='pytorch' if processes > 1 else 'none',
        train_dataloader=loader,
        val_dataloader=loader,
        val_cfg=dict(),
        val_evaluator=dict(type='MeanScore'),
        optim_wrapper=optim_wrapper,
        train_cfg=dict(by_epoch=True, max_epochs=2),
        default_hooks=dict(
            checkpoint=dict(type='CheckpointHook', interval=1, save_best='sure', rule='greater')
        ),
        custom_hooks=[
            dict(type='EMAHook', momentum=0.2, update_buffers=True),
            dict(type='FiniteLossHook'),
            dict(type='GradientHook'),
        ],
        param_scheduler=[dict(type='LinearLR', start_factor=0.5, end=4, by_epoch=False)],
        activation_checkpointing=['backbone.layers'],
        randomness=dict(seed=0, diff_rank_seed=True),
        default_scope='mmpretrain',
        log_level='WARNING',
    )
    settings['optim_wrapper'] = dict(optim_wrapper, optimizer=dict(optim_wrapper['optimizer']))
    return Config(settings | changes)
