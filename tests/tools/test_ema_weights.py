"""Averaged (EMA) and raw weights: every tool takes what it was told to, and says what it took.

The checkpoint comes from mmengine's own EMAHook, and the truth from the models that the hook holds.
"""

import runpy
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.hooks import EMAHook, Hook
from mmengine.registry import HOOKS

from cosub_mm.engine.checkpoints import load_checkpoint
from cosub_mm.launch.errors import run_tool
from tools import test, train

ROOT = Path(__file__).parents[2]
HEAD = 'head.fc.weight'
TRUTH = {}


@HOOKS.register_module()
class KeepTruth(Hook):
    """Keeps both sets of weights as the EMAHook has them at the end of the training."""

    priority = 'VERY_LOW'

    def after_train_epoch(self, runner):
        hook = next(hook for hook in runner.hooks if isinstance(hook, EMAHook))
        for kind, model in (('raw', hook.src_model), ('averaged', hook.ema_model.module)):
            TRUTH[kind] = {name: value.clone() for name, value in model.state_dict().items()}


@pytest.fixture(scope='module')
def trained_with_ema(classification, tmp_path_factory):
    folder = tmp_path_factory.mktemp('ema')
    config = folder / 'ema.py'
    config.write_text(
        f"_base_ = ['{classification}']\n"
        "custom_hooks = [dict(type='EMAHook', momentum=0.3), dict(type='KeepTruth')]\n"
    )
    assert train.main([str(config), '--work-dir', str(folder / 'run')]) == 0
    assert not torch.equal(TRUTH['raw'][HEAD], TRUTH['averaged'][HEAD])
    return config, folder / 'run/epoch_2.pth'


def tool(name, *arguments):
    namespace = runpy.run_path(str(ROOT / f'tools/model_converters/{name}.py'))
    main = namespace['convert' if name == 'convert' else 'main']
    return run_tool(main, [str(argument) for argument in arguments])


def holds(state):
    """Which of the two sets a state dict is, to the last tensor."""
    (kind,) = (
        kind
        for kind, truth in TRUTH.items()
        if truth.keys() == state.keys() and all(torch.equal(truth[k], state[k]) for k in truth)
    )
    return kind


def foreign(trained, layout, path):
    """The same two sets in a file that another training code or tool would have written."""
    raw, averaged = TRUTH['raw'], TRUTH['averaged']
    wrapped = {f'module.{name}': value for name, value in averaged.items()}
    cfg = torch.load(trained, weights_only=False)['meta']['cfg']
    contents = {
        'timm': dict(state_dict=raw, state_dict_ema=wrapped, epoch=3),
        'deit': dict(model=raw, model_ema=averaged),
        'ema alone': dict(model_ema=averaged),
        'swa': dict(wrapped, n_averaged=torch.tensor(4)),
        'no evidence': dict(state_dict=raw, ema_state_dict=averaged),
        'taken out': dict(state_dict=averaged, meta=dict(cfg=cfg)),
        'plain': dict(state_dict=raw),
    }
    torch.save(contents[layout], path)
    return path


@pytest.mark.parametrize('flag, kind', [(None, 'raw'), ('--raw', 'raw'), ('--ema', 'averaged')])
def test_published_and_converted_weights_are_those_of_the_hook(
    trained_with_ema, flag, kind, tmp_path, capsys
):
    _, checkpoint = trained_with_ema
    flags = [flag] if flag else []
    assert tool('publish_model', checkpoint, tmp_path / 'pub.pth', *flags) == 0
    assert tool('convert', checkpoint, tmp_path / 'conv.pth', '--to', 'mmpretrain', *flags) == 0
    said = capsys.readouterr().out
    # What was found, and by what evidence.
    assert said.count('EMAHook(momentum=0.3), after 6 updates') == 2
    words = {
        'raw': 'the raw (trained) weights under',
        'averaged': 'the averaged weights (EMA) under',
    }
    assert said.count(words[kind]) == 2
    (published,) = tmp_path.glob('pub-*.pth')
    for file in (published, tmp_path / 'conv.pth'):
        assert holds(torch.load(file, weights_only=True)['state_dict']) == kind


def test_published_file_remembers_which_it_is(trained_with_ema, tmp_path, capsys):
    _, checkpoint = trained_with_ema
    assert tool('publish_model', checkpoint, tmp_path / 'a.pth', '--ema') == 0
    (published,) = tmp_path.glob('a-*.pth')
    line = [published, tmp_path / 'out.pth', '--to', 'mmpretrain']
    assert tool('convert', *line, '--raw') == 2
    assert 'holds no raw weights' in capsys.readouterr().err
    assert tool('convert', *line, '--ema') == 0


@pytest.mark.parametrize(
    'layout, raw, averaged, default',
    [
        ('timm', 'raw', 'averaged', 'raw'),
        ('deit', 'raw', 'averaged', 'raw'),
        ('ema alone', 'no raw weights', 'averaged', 'averaged'),
        ('swa', 'no raw weights', 'averaged', 'averaged'),
        ('plain', 'raw', 'no averaged weights', 'raw'),
        # Both could be either: nobody guesses.
        ('no evidence', 'does not tell', 'does not tell', 'does not tell'),
        ('taken out', 'does not tell', 'does not tell', 'averaged'),
    ],
)
def test_files_of_other_codes(trained_with_ema, layout, raw, averaged, default, tmp_path, capsys):
    path = foreign(trained_with_ema[1], layout, tmp_path / 'in.pth')
    for flags, expected in ((['--raw'], raw), (['--ema'], averaged), ([], default)):
        code = tool('publish_model', path, tmp_path / f'{len(flags)}{flags}.pth', *flags)
        if expected in TRUTH:
            assert code == 0
            (file,) = tmp_path.glob(f'{len(flags)}[[]*')
            assert holds(torch.load(file, weights_only=True)['state_dict']) == expected
            file.unlink()
        else:
            assert code == 2 and expected in capsys.readouterr().err


def test_ambiguous_weights_are_chosen_by_their_key(trained_with_ema, tmp_path, capsys):
    path = foreign(trained_with_ema[1], 'no evidence', tmp_path / 'in.pth')
    assert tool('publish_model', path, tmp_path / 'x.pth') == 2
    assert '--weights-key state_dict or ema_state_dict' in capsys.readouterr().err
    line = [path, tmp_path / 'out.pth', '--weights-key']
    assert tool('publish_model', *line, 'ema_state_dict') == 0
    (file,) = tmp_path.glob('out-*.pth')
    assert holds(torch.load(file, weights_only=True)['state_dict']) == 'averaged'
    assert tool('publish_model', *line, 'teacher') == 2
    assert "no weights under 'teacher'" in capsys.readouterr().err


@pytest.mark.parametrize(
    'hook, flags, kind',
    [
        ({}, [], 'averaged'),
        ({}, ['--ema'], 'averaged'),
        ({}, ['--raw'], 'raw'),
        # Whatever EMAHook the config of the test has, the weights asked for are tested.
        (dict(type='mmengine.EMAHook'), ['--raw'], 'raw'),
        (dict(type='mmpretrain.EMAHook'), ['--raw'], 'raw'),
        (dict(type='mmpretrain.EMAHook', evaluate_on_ema=False), ['--ema'], 'averaged'),
    ],
)
def test_tested_weights(trained_with_ema, hook, flags, kind, tmp_path):
    seen = []

    class SeeTested(Hook):
        priority = 'VERY_LOW'

        def before_test_epoch(self, runner):
            seen.append({name: v.clone() for name, v in runner.model.state_dict().items()})

    HOOKS.register_module(module=SeeTested, force=True)
    hooks = [*([hook] if hook else []), dict(type='SeeTested')]
    base, checkpoint = trained_with_ema
    config = tmp_path / 'test.py'
    config.write_text(f"_base_ = ['{base}']\ncustom_hooks = {hooks}\n")
    line = [str(config), str(checkpoint), '--work-dir', str(tmp_path / 'run'), *flags]
    assert test.main(line) == 0
    assert [holds(state) for state in seen] == [kind]
    log = max((tmp_path / 'run').glob('*/*.log')).read_text()
    words = {'raw': 'the raw (trained) weights', 'averaged': 'the averaged weights (EMA)'}
    assert f'testing {checkpoint} with {words[kind]}' in log


def test_both_are_tested_where_the_hook_of_the_test_says_so(trained_with_ema, tmp_path):
    base, checkpoint = trained_with_ema
    config = tmp_path / 'test.py'
    hook = dict(type='mmpretrain.EMAHook', evaluate_on_origin=True)
    config.write_text(f"_base_ = ['{base}']\ncustom_hooks = [{hook}]\n")
    line = [str(config), str(checkpoint), '--work-dir', str(tmp_path / 'run')]
    assert test.main(line) == 0
    log = max((tmp_path / 'run').glob('*/*.log')).read_text()
    assert f'testing {checkpoint} twice' in log and 'Start testing on the original model' in log


def test_resumed_training_has_both_sets(trained_with_ema, tmp_path):
    """Loaded as data, with averages, schedules, histories and optimizer where they were."""
    config, checkpoint = trained_with_ema
    truth = {kind: dict(state) for kind, state in TRUTH.items()}
    line = [str(config), '--work-dir', str(tmp_path)]
    assert train.main([*line, '--resume', str(checkpoint.with_name('epoch_1.pth'))]) == 0
    whole, resumed = (load_checkpoint(str(path)) for path in (checkpoint, tmp_path / 'epoch_2.pth'))
    for kind, state in truth.items():
        assert all(torch.equal(TRUTH[kind][name], value) for name, value in state.items())
    assert resumed['param_schedulers'] == whole['param_schedulers']
    losses = [c['message_hub']['log_scalars']['train/loss'].data for c in (whole, resumed)]
    assert np.array_equal(losses[0], losses[1])


def test_resuming_needs_the_hook(trained_with_ema, classification, tmp_path, capsys):
    """Without it mmengine would go on from the average, with the optimizer of the raw weights."""
    _, checkpoint = trained_with_ema
    line = ['--work-dir', str(tmp_path), '--resume', str(checkpoint.with_name('epoch_1.pth'))]
    assert train.main([str(classification), *line]) == 2
    assert 'the optimizer belongs to the raw ones' in capsys.readouterr().err


@pytest.mark.parametrize('by', ['load_from', 'init_cfg'])
def test_training_says_which_weights_it_starts_from(trained_with_ema, tmp_path, by):
    from mmengine.config import Config
    from mmengine.registry import MODELS, init_default_scope

    from cosub_mm.engine.checkpoints import check_pretrained

    config, checkpoint = trained_with_ema
    cfg, said = Config.fromfile(config), []
    init_default_scope('mmpretrain')
    if by == 'load_from':
        cfg.load_from = str(checkpoint)
    else:
        start = dict(type='Pretrained', checkpoint=str(checkpoint), prefix='backbone.')
        cfg.model.backbone.init_cfg = start
    with pytest.MonkeyPatch.context() as patch:
        place = 'cosub_mm.engine.checkpoints.start.print_log'
        patch.setattr(place, lambda text, **_: said.append(text))
        check_pretrained(cfg, MODELS.build(cfg.model))
    assert "They are the averaged weights (EMA) under 'state_dict': its config has EMA" in said[0]


def test_exported_weights(trained_with_ema, tmp_path, capsys):
    namespace = runpy.run_path(str(ROOT / 'tools/model_converters/export_onnx.py'))
    config, checkpoint = map(str, trained_with_ema)
    for want, kind in ((None, 'averaged'), ('raw', 'raw'), ('averaged', 'averaged')):
        model, _ = namespace['load'](config, checkpoint, want)
        assert holds(model.classifier.state_dict()) == kind
    assert 'EMAHook' in capsys.readouterr().out
