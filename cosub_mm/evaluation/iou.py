"""mIoU that says over which classes its mean goes."""

from mmengine.logging import MMLogger
from mmseg.evaluation import IoUMetric
from mmseg.registry import METRICS

__all__ = ['CosubIoUMetric']

NAMED = 10


@METRICS.register_module()
class CosubIoUMetric(IoUMetric):
    """mmseg's IoUMetric, with the same values, that names the classes which no mask holds.

    A class without a pixel in any mask has no IoU: mmseg prints nan and takes the mean over the
    others, so that a set of one class alone has an mIoU of 100. The log says how many classes the
    mean goes over and which are absent, and the metrics hold their number.

    Args:
        *args: of IoUMetric.
        **kwargs: of IoUMetric.
    """

    def compute_metrics(self, results: list) -> dict[str, float]:
        """As IoUMetric, and ``absent_classes``, how many classes no mask holds, if any."""
        metrics = super().compute_metrics(results)
        if self.format_only or not results:
            return metrics
        pixels = sum(result[3] for result in results)
        names = self.dataset_meta['classes']
        absent = [str(name) for name, number in zip(names, pixels) if not number]
        if absent:
            more = f' and {len(absent) - NAMED} more' if len(absent) > NAMED else ''
            MMLogger.get_current_instance().warning(
                f'absent: {len(absent)} of {len(names)} classes have no pixel in any mask '
                f'({", ".join(absent[:NAMED])}{more}). The means go over the classes with an IoU; '
                f'an absent one that was predicted counts as 0, the others do not count.'
            )
            metrics['absent_classes'] = len(absent)
        return metrics
