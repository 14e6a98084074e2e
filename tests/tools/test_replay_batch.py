"""A training with a label that breaks it, its dump replayed, and weights that are no numbers."""

import pytest
import torch
from mmengine.hooks import Hook
from mmengine.registry import HOOKS

from tools import test, train
from tools.analysis_tools import replay_batch


@HOOKS.register_module(force=True)
class BreakBatch(Hook):
    """Pictures of the second step that are no numbers."""

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if runner.iter == 1:
            data_batch['inputs'] = torch.full_like(data_batch['inputs'], torch.nan, dtype=float)


def test_a_left_out_batch_is_named_and_replayed(classification, tmp_path, capsys):
    config, run = tmp_path / 'broken.py', tmp_path / 'run'
    hooks = "custom_hooks = [dict(type='mmengine.BreakBatch')]\n"
    config.write_text(f"_base_ = ['{classification}']\n{hooks}")
    options = ['--cfg-options', 'train_cfg.max_epochs=1']
    assert train.main([str(config), '--work-dir', str(run), *options]) == 0
    log = next(run.glob('*/*.log')).read_text()
    assert 'Iteration 2 is left out' in log and '.png' in log.partition('of the files')[2]
    dump = next(run.glob('bad_steps/*.pt'))
    capsys.readouterr()
    assert replay_batch.main([str(dump), str(run / 'epoch_1.pth')]) == 1
    said = capsys.readouterr().out
    assert 'loss: nan' in said and '.png' in said
    assert 'the first module whose output is no number: backbone.patch_embed.projection' in said
    content = torch.load(dump, weights_only=True)
    content['batches'][0]['batch']['inputs'] = torch.zeros(6, 3, 32, 32)
    torch.save(content, dump)
    assert replay_batch.main([str(dump), str(run / 'epoch_1.pth')]) == 0


@pytest.mark.parametrize('content', [b'no file of torch', None], ids=['other', 'absent'])
def test_what_is_no_dump_is_an_error(content, tmp_path, capsys):
    path = tmp_path / 'iter_1_rank_0.pt'
    if content:
        path.write_bytes(content)
    assert replay_batch.main([str(path)]) == 2
    assert 'cannot be read as the dump of a batch' in capsys.readouterr().err


@pytest.mark.parametrize('tool', ['test', 'resume'])
def test_weights_that_are_no_numbers_are_an_error(
    tool, trained_classifier, classification, tmp_path, capsys
):
    checkpoint = torch.load(trained_classifier / 'epoch_1.pth', weights_only=False)
    checkpoint['state_dict']['head.fc.weight'][0] = torch.nan
    path = tmp_path / 'epoch_1.pth'
    torch.save(checkpoint, path)
    config, work = str(classification), ['--work-dir', str(tmp_path / 'run')]
    if tool == 'test':
        assert test.main([config, str(path), *work]) == 2
    else:
        assert train.main([config, '--resume', str(path), *work]) == 2
    assert 'not a number: head.fc.weight' in capsys.readouterr().err
