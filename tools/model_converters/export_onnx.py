"""Export a trained classifier to ONNX, and compare it with PyTorch."""

import argparse
import sys
from collections.abc import Collection, Sequence
from pathlib import Path

import torch
from mmengine.registry import MODELS, init_default_scope
from torch import Tensor, nn

from cosub_mm.analysis.complexity import default_shape
from cosub_mm.engine.checkpoints import (
    accepted,
    add_accept_argument,
    add_trust_argument,
    add_weights_arguments,
    check_tested_model,
    check_weights,
    choose_weights,
    load_checkpoint,
    trusting,
    validated_kind,
    wanted_kind,
)
from cosub_mm.launch.config import check_task, load_config
from cosub_mm.launch.errors import run_tool, user_errors
from cosub_mm.launch.outputs import check_new_file

NOTE = """\
The input `images` has the shape (batch, 3, height, width) with any batch size: RGB pixels,
normalised by the mean and std of the config's data_preprocessor. The output `scores` has one logit
a class.
"""


class Scores(nn.Module):
    """The tensors-only part of a classifier: normalised images to logits."""

    def __init__(self, classifier: nn.Module) -> None:
        super().__init__()
        self.classifier = classifier

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, classes) of images (N, 3, height, width)."""
        return self.classifier.head(self.classifier.extract_feat(images))


def load(
    config: str,
    checkpoint: str,
    want: str | None = None,
    key: str | None = None,
    accept: Collection[str] = (),
) -> tuple[nn.Module, tuple[int, int]]:
    """The model of a config with trained weights, in evaluation mode, and its input size.

    Args:
        config: config file of a classifier.
        checkpoint: its weights.
        want: 'averaged' or 'raw'; None takes those that the training validated.
        key: where the file keeps the weights; goes before ``want``.
        accept: differences between checkpoint and config to go on with.
    """
    cfg = load_config(config)
    check_task(cfg, 'classification')
    init_default_scope(cfg.default_scope)
    cfg.model.backbone.pop('init_cfg', None)
    model = MODELS.build(cfg.model)
    loaded = load_checkpoint(checkpoint, verify=True)
    weights = choose_weights(loaded, checkpoint, want, key, default=validated_kind(loaded))
    print(f'{checkpoint}: {weights}')
    check_weights(checkpoint, model, state_dict=weights.tensors, accept=accept)
    check_tested_model(loaded, checkpoint, cfg, accept)
    model.load_state_dict(weights.tensors, strict=False)
    return Scores(model).eval(), default_shape(cfg)


def export(model: nn.Module, shape: tuple[int, int], target: Path) -> None:
    """Write the model; the batch size stays free."""
    target.parent.mkdir(parents=True, exist_ok=True)
    batch = torch.export.Dim('batch', min=1)
    with torch.no_grad():
        torch.onnx.export(
            model,
            (torch.zeros(2, 3, *shape),),
            str(target),
            input_names=['images'],
            output_names=['scores'],
            dynamic_shapes=({0: batch},),
            dynamo=True,
            external_data=False,
        )


def difference(model: nn.Module, shape: tuple[int, int], target: Path) -> float:
    """Largest difference between the logits of PyTorch and of ONNX Runtime on random images."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(target), providers=['CPUExecutionProvider'])
    images = torch.randn(3, 3, *shape, generator=torch.Generator().manual_seed(0))
    (scores,) = session.run(None, {'images': images.numpy()})
    with torch.no_grad():
        return (model(images) - torch.from_numpy(scores)).abs().max().item()


def main(argv: Sequence[str] | None) -> None:
    """Parse the command line and export."""
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=NOTE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('config', help='config of the classifier')
    parser.add_argument('checkpoint', help='its trained weights')
    parser.add_argument('target', type=Path, help='.onnx file to write')
    add_accept_argument(parser)
    add_trust_argument(parser)
    add_weights_arguments(parser, 'those that the training validated')
    args = parser.parse_args(argv)
    with user_errors('looking at the target'):
        check_new_file(args.target, 'target')
    with user_errors('loading the model'), trusting(args.trust_checkpoint):
        accept = accepted(load_config(args.config), args)
        choice = wanted_kind(args), args.weights_key
        model, shape = load(args.config, args.checkpoint, *choice, accept)
    export(model, shape, args.target)
    print(f'{args.target}: images (batch, 3, {shape[0]}, {shape[1]}) to scores')
    print(f'largest difference from PyTorch: {difference(model, shape, args.target):.2g}')


if __name__ == '__main__':
    sys.exit(run_tool(main))
