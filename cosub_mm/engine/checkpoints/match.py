"""How the tensors of a model and of a checkpoint fit together."""

from dataclasses import dataclass, field

from torch import Tensor, nn

from cosub_mm.architectures.position_grid import unsure_embeddings

__all__ = ['UNSURE', 'Match', 'match_weights']

UNSURE = 'fit by count and may be for another grid of patches, whose places would be mixed up'


@dataclass
class Match:
    """How the tensors of a model and of a checkpoint fit together, by name.

    ``unsure`` are position embeddings of other libraries' backbones that fit by their count and may
    be for another grid of patches: see :mod:`cosub_mm.architectures.position_grid`.
    """

    matched: list[str] = field(default_factory=list)
    other_shape: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)
    unsure: list[str] = field(default_factory=list)

    @property
    def total(self) -> int:
        """Number of the model's tensors."""
        names = (self.matched, self.other_shape, self.missing, self.unsure)
        return sum(map(len, names))

    def __str__(self) -> str:
        text = f'{len(self.matched)}/{self.total} tensors of the model match'
        for names, label in (
            (self.other_shape, 'of another shape'),
            (self.missing, 'missing in the checkpoint'),
            (self.unexpected, 'only in the checkpoint'),
            (self.unsure, UNSURE),
        ):
            if names:
                more = ', ...' if len(names) > 3 else ''
                text += f'; {len(names)} {label} ({", ".join(names[:3])}{more})'
        return text


def match_weights(model: nn.Module, state_dict: dict[str, Tensor]) -> Match:
    """Compare names and shapes, after the conversions that the model makes while loading.

    Loading hooks (resized position embeddings, old key names) run on a copy of the dict; neither
    the model nor ``state_dict`` changes.

    Args:
        model: the module that would load the weights.
        state_dict: the weights, named as in ``model``.
    """
    weights = {name.removeprefix('module.'): value for name, value in state_dict.items()}
    metadata = getattr(state_dict, '_metadata', {})
    for name, module in model.named_modules():
        own = metadata.get(name, metadata.get(f'module.{name}', {}))
        prefix = f'{name}.' if name else ''
        for hook in list(module._load_state_dict_pre_hooks.values()):
            hook(weights, prefix, own, False, [], [], [])
    match, unsure = Match(), unsure_embeddings(model, weights)
    for name, tensor in model.state_dict().items():
        if name.endswith('num_batches_tracked'):
            weights.pop(name, None)
        elif name not in weights:
            match.missing.append(name)
        elif getattr(weights.pop(name), 'shape', None) != tensor.shape:
            match.other_shape.append(name)
        elif name in unsure:
            match.unsure.append(name)
        else:
            match.matched.append(name)
    match.unexpected.extend(weights)
    return match
