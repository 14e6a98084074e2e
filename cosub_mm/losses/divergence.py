"""Consistency without a teacher: a divergence between predictions, both sides trained."""

from itertools import combinations

import torch
import torch.nn.functional as F
from torch import Tensor

from .terms import precise

__all__ = ['symmetric_kl']


def symmetric_kl(logits: Tensor, loss: str = 'bce') -> Tensor:
    """How far apart the predictions of submodels are: R-Drop's term (Liang et al., NeurIPS 2021).

    ``(KL(p1 || p2) + KL(p2 || p1)) / 2``, the mean over the batch and all pairs of submodels. Both
    sides have a gradient, unlike in eq. 2 of the paper.

    Args:
        logits: (num_submodels >= 2, batch, classes).
        loss: ``'ce'``, of the distribution over the classes as in R-Drop; ``'bce'``, of each class
            by itself, the mean over the classes too (ours: R-Drop has no BCE).

    Returns:
        A scalar of at least 0, and 0 where all predictions are equal.
    """
    logits = precise(logits)
    with torch.autocast(logits.device.type, enabled=False):
        if loss == 'ce':
            log_p = logits.log_softmax(-1)
        else:
            log_p = F.logsigmoid(torch.stack((logits, -logits), -1))
        p = log_p.exp()
        # KL(p || q) + KL(q || p) is the sum of (p - q) (log p - log q).
        pairs = [
            ((p[i] - p[j]) * (log_p[i] - log_p[j])).sum(-1).mean() / 2
            for i, j in combinations(range(len(logits)), 2)
        ]
        return torch.stack(pairs).mean()
