"""How the tensors of a model and of a checkpoint fit together."""

from dataclasses import dataclass, field

from torch import Tensor, nn

__all__ = ['Match', 'match_weights']


@dataclass
class Match:
    """How the tensors of a model and of a checkpoint fit together, by name."""

    matched: list[str] = field(default_factory=list)
    other_shape: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)

    @property
    def total(self) -> int:
        """Number of the model's tensors."""
        return len(self.matched) + len(self.other_shape) + len(self.missing)

    def __str__(self) -> str:
        text = f'{len(self.matched)}/{self.total} tensors of the model match'
        for names, label in (
            (self.other_shape, 'of another shape'),
            (self.missing, 'missing in the checkpoint'),
            (self.unexpected, 'only in the checkpoint'),
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
    match = Match()
    for name, tensor in model.state_dict().items():
        if name.endswith('num_batches_tracked'):
            weights.pop(name, None)
        elif name not in weights:
            match.missing.append(name)
        elif getattr(weights.pop(name), 'shape', None) != tensor.shape:
            match.other_shape.append(name)
        else:
            match.matched.append(name)
    match.unexpected.extend(weights)
    return match
