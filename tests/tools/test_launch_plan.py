"""The printed command keeps the recipe's global batch, or the tool says why it cannot."""

from tools.analysis_tools import launch_plan

RECIPE = 'configs/cosub/vit-s_in1k.py'  # 2048 images


def test_the_command_keeps_the_batch(capsys):
    assert launch_plan.main([RECIPE, '--gpus', '4', '--largest', '200', '--cpus', '6']) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-2].startswith('global batch 2048 = 128 a process x 4 process(es) x 4 accumulated')
    assert lines[-1] == (
        f'tools/dist_train.sh {RECIPE} 4 --cfg-options train_dataloader.batch_size=128 '
        'optim_wrapper.accumulative_counts=4 train_dataloader.num_workers=6'
    )


def test_a_batch_that_cannot_be_kept(capsys):
    assert launch_plan.main([RECIPE, '--gpus', '7', '--largest', '200']) == 2
    assert 'the nearest that do are 2044 and 2051' in capsys.readouterr().err
