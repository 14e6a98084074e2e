"""The printed command keeps the recipe's global batch, or the tool says why it cannot."""

import re
from pathlib import Path

from tools.analysis_tools import launch_plan

RECIPE = 'configs/cosub/vit-s_in1k.py'  # 2048 images
FSDP2 = 'configs/_base_/parallel/fsdp2.py'


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


def test_what_is_spread_is_known(capsys, tmp_path):
    """With the config a user would write: a recipe, and a way."""
    (config := tmp_path / 'spread.py').write_text(
        f"_base_ = ['{Path(RECIPE).absolute()}', '{Path(FSDP2).absolute()}']\n"
        'model = dict(backbone=dict(img_size=32))\n'
    )
    assert launch_plan.main([str(config), '--gpus', '16']) == 0
    said = capsys.readouterr().out
    # ViT-S: 22 million values, 4 numbers each, among 16; a tenth of them whole in two blocks.
    assert re.search(r'on the CPU, FSDP2\): 0\.0\d GB', said)
    assert 'not estimated: the time that FSDP2 takes to send' in said


def test_what_would_go_wrong_is_refused(capsys, tmp_path):
    (config := tmp_path / 'flexible.py').write_text(
        f"_base_ = '{Path(RECIPE).absolute()}'\nstrategy = dict(type='DeepSpeedStrategy')\n"
    )
    assert launch_plan.main([str(config), '--gpus', '16', '--largest', '64']) == 2
    assert 'strategy=DeepSpeedStrategy' in capsys.readouterr().err
