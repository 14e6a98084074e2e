"""Make, update, save and resume the teacher of a MeanTeacherClassifier."""

from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.registry import HOOKS
from torch import nn

__all__ = ['MeanTeacherHook']

KEY = 'mean_teacher'


@HOOKS.register_module()
class MeanTeacherHook(Hook):
    """Keep the average of the weights that a ``MeanTeacherClassifier`` learns from.

    It begins with the model as the training begins, takes a step behind each of the optimizer's,
    and is written into each checkpoint under ``mean_teacher``, from which a resumed run goes on.
    ``tools/train.py`` adds the hook by itself.

    Raises:
        ValueError: a model without such a teacher, or a checkpoint to resume from without one.
    """

    priority = 'ABOVE_NORMAL'  # before checkpoints are written

    def __init__(self) -> None:
        self._resumed: dict | None = None

    def before_train(self, runner) -> None:
        """Make the teacher, or take the one of the checkpoint."""
        model = _model(runner)
        resumed, self._resumed = self._resumed, None
        if not runner.iter:
            model.start_teacher()
        elif resumed is not None:
            model.load_teacher_state(resumed)
        else:
            raise ValueError(
                f'The run goes on at iteration {runner.iter}, and its checkpoint holds no '
                f"'{KEY}': it is not of a MeanTeacherClassifier. Start a new training from its "
                f'weights with load_from.'
            )

    def after_train_iter(self, runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        """Take one step of the average where the optimizer has taken one."""
        wrapper = runner.optim_wrapper
        if not hasattr(wrapper, 'should_update') or wrapper.should_update():
            _model(runner).update_teacher()

    def before_save_checkpoint(self, runner, checkpoint: dict) -> None:
        """Write the teacher beside the weights."""
        checkpoint[KEY] = _model(runner).teacher_state()

    def after_load_checkpoint(self, runner, checkpoint: dict) -> None:
        """Remember the teacher of a checkpoint, in case the run goes on from it."""
        self._resumed = checkpoint.get(KEY)


def _model(runner) -> nn.Module:
    model = runner.model.module if is_model_wrapper(runner.model) else runner.model
    if not hasattr(model, 'update_teacher'):
        raise ValueError(
            f'MeanTeacherHook belongs to a MeanTeacherClassifier, not to {type(model).__name__}.'
        )
    return model
