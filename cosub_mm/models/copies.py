"""One forward pass for all copies of a batch, as submodels are trained."""

import torch
from torch import Tensor, nn

from cosub_mm.stochastic_depth import copy_batch_late, drops_now

__all__ = ['scores_of_copies']


def scores_of_copies(classifier: nn.Module, inputs: Tensor, num_copies: int) -> Tensor:
    """Scores of submodels, each with stochastic depth of its own.

    Where nothing is dropped now and nothing else is random (dropout), all copies are equal: one is
    computed and stands for all, so that the gradient of a mean over the copies is the same. Where
    the pass did draw random numbers, the other copies are computed too.

    Args:
        classifier: has a ``backbone``, and ``scores`` from images to (batch, classes).
        inputs: (batch, channels, height, width).
        num_copies: at least 1.

    Returns:
        (num_copies, batch, classes).
    """
    if drops_now(classifier.backbone):
        # What lies before the first random branch is the same for all copies: it runs once.
        with copy_batch_late(classifier.backbone, inputs, num_copies) as batch:
            logits = classifier.scores(batch.inputs)
        return logits.unflatten(0, (num_copies, len(inputs)))
    before = _random_state(inputs.device)
    first = classifier.scores(inputs)
    if torch.equal(before, _random_state(inputs.device)):
        return first.expand(num_copies, *first.shape)
    rest = classifier.scores(inputs.repeat(num_copies - 1, *[1] * (inputs.ndim - 1)))
    return torch.cat((first, rest)).unflatten(0, (num_copies, len(inputs)))


def _random_state(device: torch.device) -> Tensor:
    """Where torch's generators stand, on the host; the device need not be waited for."""
    states = [torch.get_rng_state()]
    if device.type == 'cuda':
        states.append(torch.cuda.get_rng_state(device))
    return torch.cat(states)
