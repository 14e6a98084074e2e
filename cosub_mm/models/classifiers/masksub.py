"""MaskSub: a second pass that sees less learns from the first (Heo et al., CVPR 2025)."""

from contextlib import AbstractContextManager

import torch
from mmpretrain.registry import MODELS
from torch import Tensor, nn

from cosub_mm.losses import agreement, check_lam, label_loss, teacher_loss
from cosub_mm.models.drop_path import drop_branches
from cosub_mm.models.tokens import drop_tokens
from cosub_mm.models.two_passes import backward_now
from cosub_mm.stochastic_depth import describe, max_drop_rate, other_drop_rate
from cosub_mm.stochastic_depth.step.shadow import Shadow

from .recipe import RecipeClassifier

__all__ = ['MaskSubClassifier']

SUBS = ('mask', 'path')
_CHECKPOINT_FLAGS = ('grad_checkpointing', 'with_cp', 'use_checkpoint')


@MODELS.register_module()
class MaskSubClassifier(RecipeClassifier):
    """An ``ImageClassifier`` trained by MaskSub ("Masking meets supervision", arXiv 2306.11339).

    The main pass is the recipe's own and learns from the label. A second pass of the same weights
    on the same images sees less, and learns from the main pass's prediction, one way only:
    ``lam L(y1, y) + (1 - lam) L(y2, sg(y1))``, the mean of the two at the paper's lam of .5. The
    main pass is differentiated, and its activations given back, before the second begins, so that
    the peak of memory is one pass's; under DistributedDataParallel gradients are synchronised once.
    Written from the paper's description. Prediction and state_dict are ImageClassifier's own.

    Args:
        backbone: as in ImageClassifier.
        *args: further positional arguments of ImageClassifier.
        sub: ``'mask'``, tokens of a vision transformer are removed behind the position embedding,
            the class token stays, and each image has another random choice; ``'path'``, for any
            residual backbone, residual branches are dropped at a higher rate (PathSub).
        ratio: share of the patches that the second pass does not see, in [0, 1) (.5 in the paper);
            with ``'path'`` its drop rate in every block, above the main pass's (.5 is ours: the
            sources that we have give no rate).
        lam: weight of the label loss, in [0, 1].
        **kwargs: see :class:`.RecipeClassifier`.

    Raises:
        ValueError: an argument outside its range, a backbone without tokens for ``'mask'`` or
            without residual branches for ``'path'``.
    """

    def __init__(
        self,
        backbone: dict,
        *args,
        sub: str = 'mask',
        ratio: float = 0.5,
        lam: float = 0.5,
        **kwargs,
    ) -> None:
        check_lam(lam)
        if sub not in SUBS:
            raise ValueError(f"sub={sub!r} is unknown; choose 'mask' or 'path'.")
        if not 0 <= ratio < 1:
            raise ValueError(
                f'ratio={ratio} must lie in [0, 1): it is the share that the second pass misses.'
            )
        super().__init__(backbone, *args, **kwargs)
        self.sub, self.ratio, self.lam = sub, ratio, lam
        self.looked_for_checkpoints = False
        if sub == 'mask':
            self.tokens = [drop_tokens(self.backbone, type(self).__name__)]  # the backbone's part
        else:
            self._prepare_paths(kwargs)

    def loss(self, inputs: Tensor, data_samples: list) -> dict[str, Tensor]:
        """Losses of one training step.

        Args:
            inputs: augmented images, (batch, channels, height, width).
            data_samples: their labels, or mixed scores where mixup or cutmix made them.

        Returns:
            ``loss_label`` and ``loss_sub``, whose sum is the loss, and ``agreement``, the share of
            images for which both passes have the same most probable class.
        """
        self._refuse_checkpoints()
        main = self.scores(inputs)
        target = self.target(data_samples, main)
        weight = self.head_loss.class_weight_like(main)
        label = self.lam * label_loss(main, target, self.loss_name, weight)
        losses = self.weighted(dict(loss_label=label))
        main = main.detach()
        if torch.is_grad_enabled():
            losses['loss_label'] = backward_now(losses['loss_label'], self.parameters())
        with self._less():
            sub = self.scores(inputs)
        taught = (1 - self.lam) * teacher_loss(sub, main, self.loss_name)
        losses |= self.weighted(dict(loss_sub=taught))
        losses['agreement'] = agreement(torch.stack((main, sub)))
        losses.update(self.head_loss.accuracies(main, data_samples))
        return losses

    def _less(self) -> AbstractContextManager:
        """In it the network sees or computes less."""
        if self.sub == 'mask':
            return self.tokens[0].removing(self.ratio)
        return other_drop_rate(self.backbone, self.ratio)

    def _prepare_paths(self, settings: dict) -> None:
        rate = max_drop_rate(self.backbone)
        if self.ratio <= rate:
            raise ValueError(
                f"{type(self).__name__} with sub='path': the second pass drops at "
                f'ratio={self.ratio}, which must exceed the drop rate of the main pass, {rate:g}.'
            )
        if describe(self.backbone) is None:  # a main pass that drops nothing
            names = ('implementation', 'example_input', 'find')
            drop_branches(self.backbone, 0.0, **{k: settings[k] for k in names if k in settings})

    def _refuse_checkpoints(self) -> None:
        """What is computed anew behind the step would be what the main pass computes."""
        if self.looked_for_checkpoints:
            return
        self.looked_for_checkpoints = True
        found = [
            name or type(part).__name__
            for name, part in self.backbone.named_modules()
            if (self.sub == 'path' and _recomputes(part))
            # Blocks may be computed anew: tokens go before they begin.
            or (self.sub == 'mask' and self.tokens[0] in set(part.modules()) and _is_wrapped(part))
        ]
        if found:
            raise ValueError(
                f'{type(self).__name__} with sub={self.sub!r}: activation checkpointing of '
                f'{found[0]} would compute the second pass anew as if it were the main one. Leave '
                f"it out; with sub='mask', activation_checkpointing=['backbone.layers'] of a "
                f'CosubViT is possible.'
            )


def _is_wrapped(module: nn.Module) -> bool:
    """Whether the forward pass of a module, as activation checkpointing does, was replaced."""
    forward = vars(module).get('forward')
    return forward is not None and not isinstance(forward, Shadow)


def _recomputes(module: nn.Module) -> bool:
    """Whether activation checkpointing was asked of a module, by a flag or around its forward."""
    flagged = any(getattr(module, flag, False) is True for flag in _CHECKPOINT_FLAGS)
    return flagged or _is_wrapped(module)
