"""What a run shows and what only its log file holds."""

import pytest

from tests.engine import toy

HEADS = ('System environment:', 'Config:\ndefault_hooks', 'Hooks will be executed', 'Exp name')


@pytest.mark.parametrize('verbose', [False, True])
def test_the_console_shows_what_a_person_needs_and_the_file_everything(
    tmp_path, monkeypatch, capsys, verbose
):
    monkeypatch.setenv('COSUB_VERBOSE', '1' if verbose else '')
    logger = dict(type='LoggerHook', interval=1)
    runner = toy.built(toy.config(tmp_path, default_hooks=dict(logger=logger)))
    runner.logger.error('Config:\nan error is shown, however it begins')
    runner.logger.info('accuracy %d', 'a fault of the caller, which logging reports')
    runner.train()
    shown = capsys.readouterr().out
    (log,) = tmp_path.glob('*/*.log')
    written = log.read_text()
    assert all(head in written for head in HEADS)
    assert [head in shown for head in HEADS] == [verbose] * len(HEADS)
    assert 'an error is shown' in shown and 'Epoch(train) [4][3/3]' in shown
    assert (log.name in shown) == (not verbose)
