import json
from pathlib import Path

from mmengine.config import Config
from PIL import Image

from cosub_mm.demo.stages import StageResult
from cosub_mm.launch.arguments import test_arguments as parse_test
from cosub_mm.launch.arguments import train_arguments as parse_train
from tools import demo


def _commands(*args):
    for stage in demo.stages(*args):
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
    end = f'{demo.WORK_DIR}/cosub/{_end(Config.fromfile("configs/demo/cosub_vit_digits.py"))}.pth'
    upernet = Config.fromfile('configs/demo/upernet_vit_scenes.py')
    assert upernet.model.backbone.init_cfg.checkpoint == end
    assert Config.fromfile('configs/demo/cosub_vit_digits_ft35.py').load_from == end


def test_other_places_reach_the_commands():
    for _, (tool, *line) in _commands('/data', 'W'):
        if tool == 'tools/train.py':
            args = parse_train(line)
            assert args.data_root.startswith('/data/')
            if any(part in args.config for part in ('ft35', 'vit_scenes', 'vit_cosub_scenes')):
                assert 'W/cosub/epoch_30.pth' in args.cfg_options.values()


def test_baselines_are_not_handicapped():
    """They differ from cosub in the model's type and loss, or in the start, and in nothing else."""
    cosub = Config.fromfile('configs/demo/cosub_vit_digits.py')
    supervised = Config.fromfile('configs/demo/supervised_vit_digits.py')
    assert supervised.model.pop('type') == 'ImageClassifier'
    supervised.model.head.pop('loss')
    cosub.model.pop('type')
    assert supervised.to_dict() == cosub.to_dict()
    upernet = Config.fromfile('configs/demo/upernet_vit_scenes.py')
    upernet.model.backbone.pop('init_cfg')
    scratch = Config.fromfile('configs/demo/upernet_vit_scratch_scenes.py')
    assert upernet.to_dict() == scratch.to_dict()


def test_table(tmp_path):
    rows = [StageResult('One', 61.0, '97.0% top-1', ['w/a.pth'], False)]
    demo.write_table(rows, tmp_path)
    text = (tmp_path / 'table.md').read_text()
    assert '| One | 1:01 | 97.0% top-1 | `w/a.pth` |' in text and 'total | 1:01' in text
    content = json.loads((tmp_path / 'table.json').read_text())
    assert content['stages'][0]['result'] == '97.0% top-1' and content['total'] == 61.0


def test_pictures(tmp_path):
    for start in ('cosub', 'scratch'):
        folder = tmp_path / f'upernet_{start}' / 'pictures'
        folder.mkdir(parents=True)
        for i in range(6):
            Image.new('RGB', (30, 20), 'red').save(folder / f'{i}.png')
    demo.write_pictures(tmp_path)
    for name in demo.PICTURES:
        assert (tmp_path / name).is_file()
    assert Image.open(tmp_path / 'scenes_cosub.png').size == (30, 80)


def test_places_are_those_of_the_configs_inside_the_checkout(monkeypatch, tmp_path):
    assert demo.from_root(demo.ROOT / 'work_dirs' / 'demo') == demo.WORK_DIR
    monkeypatch.chdir(tmp_path)
    assert demo.from_root('w') == str(tmp_path / 'w')
