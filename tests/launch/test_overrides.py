"""--cfg-options: what a text on the command line means."""

import argparse

import pytest

from cosub_mm.launch.overrides import OverrideAction


def parsed(*pairs: str) -> dict:
    parser = argparse.ArgumentParser()
    parser.add_argument('--cfg-options', nargs='+', action=OverrideAction)
    return parser.parse_args(['--cfg-options', *pairs]).cfg_options


@pytest.mark.parametrize(
    'text, value',
    [
        ('1', 1),
        ('-.5', -0.5),
        ('1e-3', 1e-3),
        ('true', True),
        ('None', None),
        ('bf16', 'bf16'),
        ('1,2,3', [1, 2, 3]),
        ('[a,b]', ['a', 'b']),
        ('(1,2)', (1, 2)),
        ('[(1,2),[a,b]]', [(1, 2), ['a', 'b']]),
        ("[{'type': 'EMAHook', 'momentum': 1e-4}]", [{'type': 'EMAHook', 'momentum': 1e-4}]),
        ("{'type': 'FocalLoss'}", {'type': 'FocalLoss'}),
        ('/data/my pictures', '/data/my pictures'),
        ("'/data/a, b'", '/data/a, b'),
        ('a=b', 'a=b'),
        ('/my data/x,/my data/y', ['/my data/x', '/my data/y']),
        ('[/my data/a, /b]', ['/my data/a', '/b']),
        ("'a','b'", ['a', 'b']),
        ('1,', [1]),
        ('[]', []),
        ('', ''),
        ('epoch_{}.pth', 'epoch_{}.pth'),
        (r'\d{3}', r'\d{3}'),
        ('-inf', float('-inf')),
    ],
)
def test_values(text, value):
    (found,) = parsed(f'key={text}').values()
    assert found == value and type(found) is type(value)


def test_a_later_option_adds_to_an_earlier_one():
    assert parsed('a.b=1', '--cfg-options', 'c=2', 'a.b=3') == {'a.b': 3, 'c': 2}


@pytest.mark.parametrize(
    'pair, says',
    [
        ('key', 'KEY=VALUE'),
        ("key=[{'type': EMAHook}]", 'is no dict'),
        ("key=dict(type='EMAHook')", 'is no dict'),
        ("key=[dict(type='EMAHook')]", 'is no dict'),
        ('key=[1,2', 'lacks a bracket'),
    ],
)
def test_what_would_become_a_text_is_refused(pair, says, capsys):
    with pytest.raises(SystemExit):
        parsed(pair)
    assert says in capsys.readouterr().err
