"""tools/train.py in a work dir that holds something already, or that another run holds."""

from cosub_mm.launch.work_dir_lock import hold_folders
from tools import train


def test_checkpoints_in_a_second_folder(classification, tmp_path, capsys):
    work_dir, folder = tmp_path / 'runs' / 'a', tmp_path / 'big' / 'a'
    out_dir = f'default_hooks.checkpoint.out_dir={tmp_path / "big"}'
    config = [str(classification), '--work-dir', str(work_dir)]
    options = ['--cfg-options', out_dir, 'train_cfg.max_epochs=1']
    assert train.main([*config, *options]) == 0
    assert (folder / 'epoch_1.pth').is_file() and not list(work_dir.glob('*.pth'))
    assert train.main([*config, *options]) == 2
    assert str(folder) in capsys.readouterr().err
    assert train.main([*config, '--resume', *options]) == 0
    assert f'resuming from {folder / "epoch_1.pth"}' in capsys.readouterr().out
    # What the new training is to start from is not deleted by it.
    start = f'load_from={folder / "epoch_1.pth"}'
    assert train.main([*config, '--overwrite', *options, start]) == 2
    assert '--overwrite would delete' in capsys.readouterr().err
    assert (folder / 'epoch_1.pth').is_file()


def test_a_work_dir_in_use(classification, tmp_path, capsys):
    with hold_folders([str(tmp_path)]):
        assert train.main([str(classification), '--work-dir', str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert 'error: another training writes to' in error and 'Traceback' not in error
