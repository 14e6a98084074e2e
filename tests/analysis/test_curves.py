import json

from PIL import Image

from cosub_mm.analysis.curves import plot_curves, read_scalars


def _log(work_dir, start, lines, cut=''):
    path = work_dir / start / 'vis_data' / 'scalars.json'
    path.parent.mkdir(parents=True)
    path.write_text('\n'.join(json.dumps(line) for line in lines) + '\n' + cut)


def test_resumed_logs_become_one(tmp_path):
    _log(tmp_path, '1', [dict(loss=3.0, step=1), dict(loss=2.0, step=2)], cut='{"loss": 1')
    _log(tmp_path, '2', [dict(loss=1.5, step=2), dict(loss=1.0, step=3), dict(mIoU=9.0, step=3)])
    values = read_scalars(tmp_path)
    assert [v['loss'] for v in values if 'loss' in v] == [3.0, 1.5, 1.0]
    assert [v['mIoU'] for v in values if 'mIoU' in v] == [9.0]


def test_no_log(tmp_path):
    assert read_scalars(tmp_path) == []


def test_plot_says_what_is_missing(tmp_path):
    _log(tmp_path / 'a', '1', [dict(loss=3.0, step=1), dict(loss=2.0, step=2)])
    runs = {'a': tmp_path / 'a', 'b': tmp_path / 'b'}
    missing = plot_curves([('Loss', 'loss', runs)], tmp_path / 'deep' / 'curves.png')
    assert missing == ['b: loss']
    assert Image.open(tmp_path / 'deep' / 'curves.png').width > 400
