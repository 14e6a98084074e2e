"""The paper's numbers where the documents print them, and the commands beside them."""

import re
from pathlib import Path

import pytest
from mmengine.config import Config

from tests.configs.recipe_table import paper_configs, read

CONFIGS = Path(__file__).parents[2] / 'configs'
NUMBERS = read('configs/paper_numbers.csv')


def numbers(folder, metric):
    return {
        Path(row['config']).stem: row['value']
        for row in NUMBERS
        if row['config'].startswith(f'{folder}/') and row['metric'] == metric
    }


def test_segmentation_table_is_table_13():
    text = (CONFIGS / 'ade20k/README.md').read_text()
    lines = re.findall(r'^\| \[(\w\S*)\]\(\1\.py\) \|.*\| *([\d.]*) \| *([\d.]*) \|$', text, re.M)
    printed = {name: (single, multi) for name, single, multi in lines if single or multi}
    single, multi = numbers('ade20k', 'mIoU'), numbers('ade20k', 'multi-scale mIoU')
    assert printed == {name: (single.get(name, ''), multi[name]) for name in multi}
    assert len(printed) == 14


def test_transfer_table_is_table_14():
    text = (CONFIGS / 'transfer/README.md').read_text()
    printed = {name: value for value, name in re.findall(r'\[([\d.]+)\]\((\S+)\.py\)', text)}
    assert printed == numbers('transfer', 'top-1')
    assert len(printed) == 36
    assert {f'{name}.py' for name in printed} == {p.name for p in paper_configs('transfer')}


COMMAND = r'`(?:NNODES=(\d+) )?bash tools/dist_train\.sh configs/(\S+\.py) (\d+)( --amp)?`'
COMMANDS = re.findall(COMMAND, (CONFIGS / 'README.md').read_text())


@pytest.mark.parametrize('size, images', [('l', 64), ('h', 64), ('g', 32)])
def test_commands_of_the_large_models_fit(size, images):
    """Table 7: 26.9 GB for 64 images of ViT-L at 224 with mixed precision, 25.0 for 32 of ViT-H."""
    found = [command for command in COMMANDS if f'/vit-{size}' in command[1]]
    assert len(found) >= 2
    for nodes, config, gpus, amp in found:
        cfg = Config.fromfile(CONFIGS / config)
        batch = cfg.train_dataloader.batch_size
        # two models of co-training, or four times the pixels
        half = '448px' in config or 'co-training' in config
        assert batch == (32 if half else images), config
        assert int(nodes or 1) * int(gpus) * batch == cfg.auto_scale_lr.base_batch_size, config
        assert int(gpus) <= 8 and amp, config
