"""The vision transformer of DeiT III, which the paper calls ViT."""

import inspect
import math
from collections.abc import Sequence

import torch
from mmcv.cnn.bricks.transformer import FFN
from mmengine.logging import MMLogger
from mmengine.model.weight_init import trunc_normal_
from mmpretrain.models.backbones import VisionTransformer
from mmpretrain.models.utils import resize_pos_embed, to_2tuple
from mmpretrain.registry import MODELS
from torch import Tensor, nn

from cosub_mm.architectures.position_grid import (
    check_grid,
    find_grid,
    grid_of_init_cfg,
    note_grid,
    noted_grid,
)
from cosub_mm.models.drop_path import drop_branches

__all__ = ['CosubViT']


def _arch(embed_dims: int, num_layers: int, num_heads: int, feedforward_channels: int) -> dict:
    return dict(
        embed_dims=embed_dims,
        num_layers=num_layers,
        num_heads=num_heads,
        feedforward_channels=feedforward_channels,
    )


@MODELS.register_module()
class CosubViT(VisionTransformer):
    """ViT as DeiT III defines it and cosub trains it.

    It is mmpretrain's :class:`VisionTransformer` with LayerScale in both branches, position
    embeddings on the patches only, and a drop-path rate that is uniform over depth (paper,
    section 4). mmpretrain's own ``DeiT3`` is not a base for it: its second branch is normalised by
    the first branch's ``ln1``. The parameter names are those of ``DeiT3``, so its checkpoints load.

    Args:
        arch: ``'ti'``, ``'s'``, ``'m'``, ``'b'``, ``'l'``, ``'h'``, ``'g'``, or a dict with the
            keys ``embed_dims``, ``num_layers``, ``num_heads`` and ``feedforward_channels``.
            The paper's ViT-H and ViT-g use ``patch_size=14``.
        img_size: size in pixels, one number or (height, width), that the position embeddings are
            made for. Any other input size resizes them on the fly (bicubic), and weights of
            another size are resized as they are loaded.
        patch_size: side of a patch in pixels.
        in_channels: channels of the image.
        out_indices: blocks whose output is returned; negative numbers count from the last block.
        drop_rate: dropout probability after the position embedding and in the branches.
        drop_path_rate: stochastic depth rate of every block, in [0, 1). Dropped rows are not
            computed.
        layer_scale_init_value: initial LayerScale weight (1e-4 in the code of DeiT III).
        out_type: ``'cls_token'`` (N, C); ``'featmap'`` (N, C, H, W); ``'avg_featmap'``, the mean
            over the patches, (N, C); ``'raw'``, class token and patches, (N, 1 + H * W, C).
        final_norm: normalise the output of the last block. Turn it off for dense prediction.
        patch_cfg: more arguments of mmcv's ``PatchEmbed``. By default pixels beyond the last whole
            patch are left out, as in DeiT III (160 pixels hold 11 patches of 14);
            ``dict(padding='corner')`` pads the image instead.
        pretrained_grid: (rows, columns) of patches that weights to load were trained with, where
            the checkpoint does not say (ours do) and it is not square.
        **kwargs: other arguments of mmpretrain's :class:`VisionTransformer`, e.g.
            ``frozen_stages``, ``qkv_bias``, ``interpolate_mode``, ``init_cfg``.

    Raises:
        ValueError: unknown ``arch`` or ``out_type``, a rate outside [0, 1), an index beyond the
            last block, or an image smaller than a patch.
    """

    arch_zoo = {
        'ti': _arch(192, 12, 3, 768),
        's': _arch(384, 12, 6, 1536),
        'm': _arch(512, 12, 8, 2048),
        'b': _arch(768, 12, 12, 3072),
        'l': _arch(1024, 24, 16, 4096),
        'h': _arch(1280, 32, 16, 5120),
        'g': _arch(1408, 40, 16, 5632),
    }
    arch_names = {
        'tiny': 'ti',
        'small': 's',
        'medium': 'm',
        'base': 'b',
        'large': 'l',
        'huge': 'h',
        'giant': 'g',
    }

    def __init__(
        self,
        arch: str | dict = 'b',
        img_size: int | tuple[int, int] = 224,
        patch_size: int = 16,
        in_channels: int = 3,
        out_indices: int | Sequence[int] = -1,
        drop_rate: float = 0.0,
        drop_path_rate: float = 0.0,
        layer_scale_init_value: float = 1e-4,
        out_type: str = 'cls_token',
        final_norm: bool = True,
        patch_cfg: dict | None = None,
        pretrained_grid: tuple[int, int] | None = None,
        **kwargs,
    ) -> None:
        arch = self._check_arch(arch)
        if out_type not in self.OUT_TYPES:
            raise ValueError(
                f'out_type={out_type!r} is unknown; choose from {_names(self.OUT_TYPES)}.'
            )
        if not 0 <= drop_path_rate < 1:
            raise ValueError(f'drop_path_rate={drop_path_rate} must lie in [0, 1).')
        if min(to_2tuple(img_size)) < max(to_2tuple(patch_size)):
            raise ValueError(
                f'img_size={img_size} is smaller than one patch ({patch_size} pixels).'
            )
        super().__init__(
            arch=arch,
            img_size=img_size,
            patch_size=patch_size,
            in_channels=in_channels,
            out_indices=self._check_indices(out_indices, arch['num_layers']),
            drop_rate=drop_rate,
            layer_scale_init_value=layer_scale_init_value,
            final_norm=final_norm,
            # 'avg_featmap' would add a second final norm, which DeiT III does not have.
            out_type='raw',
            patch_cfg={'padding': 0, **(patch_cfg or {})},
            layer_cfgs=dict(drop_path_rate=drop_path_rate),
            **kwargs,
        )
        for layer in self.layers:
            if type(layer.ffn) is FFN:
                layer.ffn.__class__ = _PlainFFN
        self.out_type = out_type
        self.pos_embed = nn.Parameter(
            torch.zeros(1, math.prod(self.patch_resolution), self.embed_dims),
            requires_grad=self.pos_embed.requires_grad,
        )
        self._tell_of_cut_pixels(to_2tuple(img_size), to_2tuple(patch_size))
        self.pretrained_grid = check_grid(pretrained_grid)
        self._grid_of_file: tuple[int, int] | None = None
        self.register_state_dict_post_hook(note_grid)
        if drop_path_rate:
            drop_branches(self, drop_path_rate)

    @property
    def position_grid(self) -> tuple[int, int]:
        """Rows and columns of patches that the position embedding is for."""
        return tuple(self.patch_resolution)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Features of an image batch.

        Args:
            x: images, (N, in_channels, height, width).

        Returns:
            One tensor for each of ``out_indices``, shaped as ``out_type`` says.
        """
        x, resolution = self.patch_embed(x)
        x = x + resize_pos_embed(
            self.pos_embed,
            self.patch_resolution,
            resolution,
            mode=self.interpolate_mode,
            num_extra_tokens=0,
        )
        x = torch.cat((self.cls_token.expand(x.shape[0], -1, -1), self.drop_after_pos(x)), dim=1)
        x = self.pre_norm(x)

        outs = []
        for i, layer in enumerate(self.layers):
            x = layer(x)
            if i == self.num_layers - 1 and self.final_norm:
                x = self.ln1(x)
            if i in self.out_indices:
                outs.append(self._format_output(x, resolution))
        return tuple(outs)

    def init_weights(self) -> None:
        """Initialise as DeiT III does: truncated normal of .02, biases 0, or a checkpoint."""
        was_init = self.is_init
        self._grid_of_file = grid_of_init_cfg(self.init_cfg)
        super().init_weights()
        self._grid_of_file = None
        if was_init or 'Pretrained' in _init_types(self.init_cfg):
            return
        for module in self.modules():
            if isinstance(module, nn.Linear):
                trunc_normal_(module.weight, std=0.02)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        trunc_normal_(self.pos_embed, std=0.02)
        trunc_normal_(self.cls_token, std=0.02)

    def train(self, mode: bool = True) -> 'CosubViT':
        """Set training mode and return the module, which mmpretrain's backbones forget."""
        super().train(mode)
        return self

    def get_layer_depth(self, param_name: str, prefix: str = '') -> tuple[int, int]:
        """Depth of a parameter for layer decay, and the number of depths.

        Args:
            param_name: full name of the parameter.
            prefix: what stands before this backbone's own names.

        Returns:
            The embeddings are at depth 0, block i at i + 1, the final norm with the last block (as
            in timm), everything outside the backbone at the last depth.
        """
        if param_name.startswith(f'{prefix}ln1.'):
            return self.num_layers, self.num_layers + 2
        return super().get_layer_depth(param_name, prefix)

    def _format_output(self, x: Tensor, hw: tuple[int, int]) -> Tensor:
        if self.out_type == 'avg_featmap':
            return x[:, 1:].mean(dim=1)
        return super()._format_output(x, hw)

    def _prepare_pos_embed(
        self, state_dict: dict, prefix: str, local_metadata: dict, *args, **kwargs
    ) -> None:
        """Resize the position embeddings of a checkpoint of another resolution."""
        weight = state_dict.get(f'{prefix}pos_embed')
        if weight is None:
            return
        noted = noted_grid(local_metadata) or self._grid_of_file
        own = self.position_grid
        source = find_grid(weight.shape[1], own, noted, self.pretrained_grid)
        if source.grid == own:
            return
        MMLogger.get_current_instance().info(source.resized(own, self.interpolate_mode))
        state_dict[f'{prefix}pos_embed'] = resize_pos_embed(
            weight, source.grid, own, self.interpolate_mode, num_extra_tokens=0
        )

    def _tell_of_cut_pixels(self, img_size: tuple[int, int], patch_size: tuple[int, int]) -> None:
        rest = [size % patch for size, patch in zip(img_size, patch_size)]
        if any(rest) and self.patch_embed.adaptive_padding is None:
            MMLogger.get_current_instance().info(
                f'Patches of {patch_size[0]}x{patch_size[1]} do not divide an image of '
                f'{img_size[0]}x{img_size[1]}: the last {rest[0]} rows and {rest[1]} columns are '
                f'left out, {self.patch_resolution[0]}x{self.patch_resolution[1]} patches remain.'
            )

    @classmethod
    def _check_arch(cls, arch: str | dict) -> dict:
        if isinstance(arch, str):
            name = cls.arch_names.get(arch.lower(), arch.lower())
            if name not in cls.arch_zoo:
                raise ValueError(
                    f'arch={arch!r} is unknown; choose from {_names(cls.arch_zoo)} or give a dict '
                    f'with the keys {_names(cls.arch_zoo["b"])}.'
                )
            return cls.arch_zoo[name]
        missing = set(cls.arch_zoo['b']) - set(arch)
        if missing:
            raise ValueError(f'The arch dict lacks the keys {_names(missing)}.')
        if arch['embed_dims'] % arch['num_heads']:
            raise ValueError(
                f'arch: embed_dims={arch["embed_dims"]} must be a multiple of '
                f'num_heads={arch["num_heads"]}.'
            )
        return arch

    @staticmethod
    def _check_indices(out_indices: int | Sequence[int], num_layers: int) -> list[int]:
        indices = [out_indices] if isinstance(out_indices, int) else list(out_indices)
        for index in indices:
            if not -num_layers <= index < num_layers:
                raise ValueError(
                    f'out_indices={out_indices}: there is no block {index}; the {num_layers} '
                    f'blocks are 0 to {num_layers - 1}.'
                )
        return [index % num_layers for index in indices]


class _PlainFFN(FFN):
    """mmcv's without its reading of forward's signature in each call, 30 microseconds a block."""

    forward = inspect.unwrap(FFN.forward)


def _init_types(init_cfg: dict | list | None) -> set:
    if not init_cfg:
        return set()
    return {cfg['type'] for cfg in ([init_cfg] if isinstance(init_cfg, dict) else init_cfg)}


def _names(names) -> str:
    return ', '.join(repr(name) for name in sorted(names))
