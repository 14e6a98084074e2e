"""Any timm model as a backbone of mmpretrain and mmseg."""

import math
from collections.abc import Sequence
from typing import Any

import timm
from mmengine.model import BaseModule
from mmpretrain.registry import MODELS
from torch import Tensor, nn
from torch.func import functional_call

from cosub_mm.architectures.layer_depths import layer_depths
from cosub_mm.architectures.position_grid import (
    PositionGridError,
    check_grid,
    grid_of_init_cfg,
    is_square,
    note_grid,
)
from cosub_mm.stochastic_depth import apply_stochastic_depth

from .timm_weights import load_timm_file, resize_embedding, resize_loaded_embedding

__all__ = ['CosubTIMMBackbone']


@MODELS.register_module()
class CosubTIMMBackbone(BaseModule):
    """A timm model without its classifier.

    Unlike mmpretrain's ``TIMMBackbone`` it pools as the timm model does (class token of PiT and
    CaiT, average of RegNet), gives channels-first maps for dense prediction, resizes absolute
    position embeddings, and knows its layers for layer decay. Parameter names are those of
    ``TIMMBackbone``, so that weights load either way.

    Args:
        model_name: a name of ``timm.list_models()``, e.g. ``'pit_b_224'``.
        out_type: ``'pooled'``, what timm's own head classifies, (N, C); ``'featmap'``, maps of
            ``out_indices``, (N, C, H, W).
        out_indices: features that ``'featmap'`` returns, counted as timm's
            ``forward_intermediates`` does: blocks of a column transformer, stages of the others.
            None returns all.
        in_channels: channels of the image.
        img_size: size in pixels for models that are made for one size; None leaves timm's.
        drop_path_rate: stochastic depth rate of every block, in [0, 1).
        schedule: ``'uniform'`` (the paper) or ``'linear'``, from 0 to the rate over depth.
        implementation: ``'auto'``, ``'subset'`` or ``'mask'``, see
            :func:`~cosub_mm.stochastic_depth.apply_stochastic_depth`.
        example_input: what the timm model is called with to search or prove its blocks; in a
            config its shape, e.g. ``(3, 3, 224, 224)``.
        find: ``'drop_path'``, or ``'all'``, which also finds blocks without a DropPath; see
            :func:`cosub_mm.stochastic_depth.apply_stochastic_depth`.
        pretrained: load timm's weights, from its cache or the hub.
        checkpoint_path: local weights in timm's layout; a classifier in them is left out.
        pretrained_grid: (rows, columns) of patches that weights to load were trained with,
            where the checkpoint does not say (ours do) and it is not square.
        init_cfg: mmengine's, e.g. ``dict(type='Pretrained', ...)``.
        **kwargs: further arguments of the timm model.

    Raises:
        ValueError: unknown model or ``out_type``, a model that gives no feature maps, or weights
            that timm itself would load scrambled.
    """

    def __init__(
        self,
        model_name: str,
        out_type: str = 'pooled',
        out_indices: Sequence[int] | None = None,
        in_channels: int = 3,
        img_size: int | tuple[int, int] | None = None,
        drop_path_rate: float = 0.0,
        pretrained: bool = False,
        checkpoint_path: str = '',
        pretrained_grid: tuple[int, int] | None = None,
        init_cfg: dict | list[dict] | None = None,
        schedule: str = 'uniform',
        implementation: str = 'auto',
        example_input: Any = None,
        find: str = 'drop_path',
        **kwargs,
    ) -> None:
        super().__init__(init_cfg)
        if out_type not in ('pooled', 'featmap'):
            raise ValueError(f"out_type={out_type!r} is unknown; choose 'pooled' or 'featmap'.")
        if not timm.is_model(model_name):
            raise ValueError(
                f'timm {timm.__version__} has no model {model_name!r}; see timm.list_models().'
            )
        if img_size is not None:
            kwargs['img_size'] = img_size
        self.pretrained_grid = check_grid(pretrained_grid)
        self._grid_of_file: tuple[int, int] | None = None
        self.timm_model = timm.create_model(
            model_name,
            pretrained=pretrained,
            in_chans=in_channels,
            num_classes=0,
            **kwargs,
        )
        self.out_type = out_type
        self.grid = _position_grid(self.timm_model)
        if self.grid is not None:
            # Our own resizing takes the place of timm's refusal of other sizes.
            self.timm_model.patch_embed.strict_img_size = False
        if pretrained:
            self._check_timms_loading()
        if checkpoint_path:
            load_timm_file(self, checkpoint_path)
        if out_type == 'featmap':
            self._keep_feature_layers(out_indices)
        if drop_path_rate:
            # To all of it: timm's model itself is not called, only methods of it.
            apply_stochastic_depth(
                self, drop_path_rate, schedule, implementation, example_input, find
            )
        self.register_load_state_dict_pre_hook(resize_loaded_embedding)
        self.register_state_dict_post_hook(note_grid)
        self._depths: tuple[dict[str, int], int] | None = None

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Features of an image batch.

        Args:
            x: images, (N, in_channels, height, width).

        Returns:
            One tensor (N, C), or one map (N, C, H, W) for each of ``out_indices``.
        """
        grid = self._input_grid(x)
        if grid != self._current_grid():
            embedding = resize_embedding(self.timm_model.pos_embed, self.grid, grid)
            return functional_call(self, {'timm_model.pos_embed': embedding}, (x,))
        if self.out_type == 'featmap':
            return tuple(
                self.timm_model.forward_intermediates(
                    x, indices=self.out_indices, intermediates_only=True
                )
            )
        features = self.timm_model.forward_features(x)
        return (self.timm_model.forward_head(features, pre_logits=True),)

    def init_weights(self) -> None:
        """Load ``init_cfg``; otherwise keep what timm initialised or loaded."""
        if self.init_cfg:
            self._grid_of_file = grid_of_init_cfg(self.init_cfg)
            super().init_weights()
            self._grid_of_file = None
        self._is_init = True

    def get_layer_depth(self, param_name: str, prefix: str = '') -> tuple[int, int]:
        """Depth of a parameter for layer decay in timm's grouping, and the number of depths."""
        if self._depths is None:
            self._depths = layer_depths(self.timm_model)
        depths, head = self._depths
        name = param_name.removeprefix(prefix).removeprefix('timm_model.')
        return depths.get(name, head), head + 1

    def _check_timms_loading(self) -> None:
        """Refuse what timm loads scrambled: it takes weights of an equal count as they are."""
        embedding = getattr(self.timm_model, 'pos_embed', None)
        if self.grid is None or embedding.dim() == 4 or self.grid[0] == self.grid[1]:
            return
        if is_square(math.prod(self.grid)):
            raise PositionGridError(
                f'img_size gives {self.grid[0]}x{self.grid[1]} patches, as many as a square has: '
                f'timm would load square weights of that count scrambled. Give them as a file, by '
                f'checkpoint_path, with pretrained_grid=(rows, columns).'
            )

    def _keep_feature_layers(self, out_indices: Sequence[int] | None) -> None:
        """Drop what only the classifier needs: unused parameters would stop DDP."""
        model = self.timm_model
        if not hasattr(model, 'forward_intermediates'):
            raise ValueError(
                f'{type(model).__name__} of timm gives no feature maps (it has no '
                f'forward_intermediates); choose another model or another timm.'
            )
        indices = None if out_indices is None else list(out_indices)
        self.out_indices = list(
            model.prune_intermediate_layers(indices, prune_norm=True, prune_head=True)
        )

    @property
    def out_channels(self) -> list[int]:
        """Channels of each feature map."""
        info = self.timm_model.feature_info
        return [info[index]['num_chs'] for index in self.out_indices]

    @property
    def position_grid(self) -> tuple[int, int] | None:
        """Rows and columns of patches that the position embedding is for, if there is one."""
        return self.grid

    def _current_grid(self) -> tuple[int, int] | None:
        """Grid of the position embeddings in place, other than ``grid`` while they are resized."""
        if self.grid is None:
            return None
        embedding = self.timm_model.pos_embed
        return getattr(embedding, 'resized_to', self.grid)

    def _input_grid(self, x: Tensor) -> tuple[int, int] | None:
        if self.grid is None:
            return None
        conv = _projection(self.timm_model.patch_embed)
        return tuple(
            (size + 2 * pad - kernel) // stride + 1
            for size, pad, kernel, stride in zip(
                x.shape[-2:], conv.padding, conv.kernel_size, conv.stride
            )
        )


def _projection(patch_embed: nn.Module) -> nn.Conv2d:
    return getattr(patch_embed, 'proj', None) or patch_embed.conv


def _position_grid(model: nn.Module) -> tuple[int, int] | None:
    """Grid of a learned absolute position embedding, or None where timm needs no help of ours."""
    embedding = getattr(model, 'pos_embed', None)
    grid = getattr(getattr(model, 'patch_embed', None), 'grid_size', None)
    if not isinstance(embedding, nn.Parameter) or grid is None:
        return None
    if getattr(model, 'dynamic_img_size', False):
        return None
    if embedding.dim() != 3 and tuple(embedding.shape[2:]) != tuple(grid):
        return None  # of another layout, as SAM's (1, H, W, C), which timm resizes itself
    return tuple(grid)
