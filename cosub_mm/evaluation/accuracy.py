"""Accuracy of several sources of images in one pass."""

from collections import defaultdict
from collections.abc import Sequence
from typing import ClassVar

from mmpretrain.evaluation import Accuracy
from mmpretrain.registry import METRICS

__all__ = ['AccuracyBySource']


@METRICS.register_module()
class AccuracyBySource(Accuracy):
    """Top-k accuracy, apart for each ``source`` of the samples.

    Samples of the source ``'val'``, or without one, give the names that ``Accuracy`` has; those of
    another source have it before the name, e.g. ``accuracy/v2_top1``. Where two models were trained
    together, there are those of the second and of the mean prediction too, ``accuracy/peer_top1``
    and ``accuracy/mean_top1``. Arguments are Accuracy's.
    """

    # What a sample may hold beside ``pred_score``, and what the names of its accuracies begin with.
    members: ClassVar = {'peer_score': 'peer_', 'mean_score': 'mean_'}

    def process(self, data_batch, data_samples: Sequence[dict]) -> None:
        """Keep predictions, labels and sources of one batch."""
        super().process(data_batch, data_samples)
        for result, sample in zip(self.results[-len(data_samples) :], data_samples):
            result['source'] = sample.get('source', 'val')
            result.update({name: sample[name].cpu() for name in self.members if name in sample})

    def compute_metrics(self, results: list[dict]) -> dict[str, float]:
        """Accuracies of all sources, in percent."""
        sources = defaultdict(list)
        for result in results:
            sources[result['source']].append(result)
        metrics = {}
        for source, members in sources.items():
            prefix = '' if source == 'val' else f'{source}_'
            for name, value in super().compute_metrics(members).items():
                metrics[f'{prefix}{name}'] = value
            for score, member in self.members.items():
                if score not in members[0]:
                    continue
                scored = [dict(result, pred_score=result[score]) for result in members]
                for name, value in super().compute_metrics(scored).items():
                    metrics[f'{prefix}{member}{name}'] = value
        return metrics
