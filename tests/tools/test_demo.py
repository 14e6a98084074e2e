import json
from pathlib import Path

import numpy as np
import pytest
from mmengine.config import Config
from PIL import Image

from cosub_mm.demo import pictures
from cosub_mm.demo.stages import StageResult
from cosub_mm.launch.arguments import test_arguments as parse_test
from cosub_mm.launch.arguments import train_arguments as parse_train
from tools import demo


def _commands(*args):
    for stage in demo.stages(*args, with_co_trained=True):
        for command in stage.commands:
            yield stage, [part.format(dir=f'W/{stage.name}', work_dir='W') for part in command]


def _end(cfg):
    loop = cfg.train_cfg
    return f'epoch_{loop.max_epochs}' if loop.get('max_epochs') else f'iter_{loop.max_iters}'


def test_commands_are_the_tools_own():
    for _, (tool, *line) in _commands():
        assert Path(tool).is_file()
        if tool == 'tools/train.py':
            assert Path(parse_train(line).config).is_file()
        elif tool == 'tools/test.py':
            assert Path(parse_test(line).config).is_file()


def test_tests_take_the_checkpoint_that_the_training_ends_with():
    ends = {}
    for stage, (tool, *line) in _commands():
        if tool == 'tools/train.py':
            args = parse_train(line)
            ends[args.work_dir] = f'{args.work_dir}/{_end(Config.fromfile(args.config))}.pth'
            assert ends[args.work_dir] == stage.writes[0].format(dir=args.work_dir)
        elif tool == 'tools/test.py':
            assert parse_test(line).checkpoint in ends.values()


def test_configs_start_from_the_pre_trained_checkpoint():
    end = f'{demo.WORK_DIR}/cosub/{_end(Config.fromfile("configs/demo/cosub_digits.py"))}.pth'
    upernet = Config.fromfile('configs/demo/upernet_scenes.py')
    assert upernet.model.backbone.init_cfg.checkpoint == end
    assert Config.fromfile('configs/demo/cosub_digits_ft24.py').load_from == end


def from_cosub(args):
    return [value for value in (args.cfg_options or {}).values() if str(value).endswith('.pth')]


def test_other_places_reach_the_commands():
    asked, default = demo.stages(with_co_trained=True), demo.stages()
    assert sum('cosub' in stage.needs for stage in asked) == 3
    assert [stage.name for stage in asked] == [*(s.name for s in default), 'upernet_cosubseg']
    for stage, (tool, *line) in _commands('/data', 'W'):
        if tool == 'tools/train.py':
            args = parse_train(line)
            assert args.data_root.startswith('/data/')
            assert from_cosub(args) == ['W/cosub/epoch_15.pth'] * ('cosub' in stage.needs)


def test_baselines_are_not_handicapped():
    """They differ from cosub in the model's type, or in the start and what keeps it."""
    cosub = Config.fromfile('configs/demo/cosub_digits.py')
    supervised = Config.fromfile('configs/demo/supervised_digits.py')
    assert supervised.model.pop('type') == 'SupervisedClassifier'
    cosub.model.pop('type')
    assert supervised.to_dict() == cosub.to_dict()
    upernet = Config.fromfile('configs/demo/upernet_scenes.py')
    upernet.model.backbone.pop('init_cfg')
    assert upernet.model.backbone.pop('norm_eval') is True
    scratch = Config.fromfile('configs/demo/upernet_scratch_scenes.py')
    rates = [
        cfg.optim_wrapper.pop('paramwise_cfg').custom_keys.backbone.lr_mult
        * cfg.optim_wrapper.optimizer.lr
        for cfg in (upernet, scratch)
    ]
    assert rates == pytest.approx([3e-4, cosub.optim_wrapper.optimizer.lr])
    assert upernet.to_dict() == scratch.to_dict()


def test_table(tmp_path):
    rows = [StageResult('One', 61.0, '97.0% top-1', ['w/a.pth'], False)]
    demo.write_table(rows, tmp_path)
    text = (tmp_path / 'table.md').read_text()
    assert '| One | 1:01 | 97.0% top-1 | `w/a.pth` |' in text and 'total | 1:01' in text
    content = json.loads((tmp_path / 'table.json').read_text())
    assert content['stages'][0]['result'] == '97.0% top-1' and content['total'] == 61.0


@pytest.fixture
def scenes(tmp_path):
    """Three scenes, and predictions that are right from cosub and wrong from scratch."""
    truth = np.full((8, 8), 3, np.uint8)
    truth[:, 4:], truth[0] = 12, 0
    maps = {'upernet_cosub': truth, 'upernet_scratch': np.full((8, 8), 14, np.uint8)}
    for i in range(3):
        save(tmp_path / f'data/scenes/images/validation/{i}.jpg', np.zeros((8, 8, 3), np.uint8))
        save(tmp_path / f'data/scenes/annotations/validation/{i}.png', truth)
        for stage, labels in maps.items():
            save(tmp_path / f'w/{stage}/label_maps/{i}.png', labels)
    return tmp_path


def save(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def test_pictures(scenes):
    demo.write_pictures(scenes / 'data', scenes / 'w')
    for name in demo.PICTURES:
        assert (scenes / 'w' / name).is_file()


def test_scenes_are_drawn_in_the_colours_of_their_classes(scenes):
    demo.write_pictures(scenes / 'data', scenes / 'w')
    pixels = np.asarray(Image.open(scenes / 'w/scenes.png').convert('RGB')).reshape(-1, 3)
    palette = np.array(Config.fromfile('configs/demo/upernet_scenes.py').metainfo.palette)
    # Three scenes; of each, class 2 is on the left half of truth and cosub, class 13 on all of
    # scratch, and nothing on the rim.
    areas = [
        (pixels == (pictures.OPACITY * palette[i]).astype(np.uint8)).all(1).sum()
        for i in (2, 11, 13)
    ]
    assert areas[0] > 100 and areas[1] == pytest.approx(areas[0], rel=0.1)
    assert areas[2] / areas[0] == pytest.approx(64 / (2 * 28), rel=0.1)


def test_scene_without_its_prediction_is_said(scenes):
    (scenes / 'w/upernet_cosub/label_maps/1.png').unlink()
    with pytest.raises(FileNotFoundError, match='1.png'):
        demo.write_pictures(scenes / 'data', scenes / 'w')


def test_no_picture_is_mirrored():
    for path in Path('configs/demo').glob('*.py'):
        cfg = Config.fromfile(path)
        assert 'Flip' not in str(cfg.train_pipeline) + str(cfg.test_pipeline), path
        assert cfg.tta_flip is False


def test_places_are_those_of_the_configs_inside_the_checkout(monkeypatch, tmp_path):
    assert demo.from_root(demo.ROOT / 'work_dirs' / 'demo') == demo.WORK_DIR
    monkeypatch.chdir(tmp_path)
    assert demo.from_root('w') == str(tmp_path / 'w')
