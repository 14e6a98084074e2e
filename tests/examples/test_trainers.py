"""The examples for Hugging Face's Trainer and Lightning train, where these are installed."""

import importlib

import pytest
import torch

from examples.timm_loop import load_digits


@pytest.fixture
def few_digits(monkeypatch, tmp_path):
    """A hundred digits; what is written goes below tmp_path."""
    images, labels, test_images, test_labels = load_digits()
    torch.manual_seed(0)
    monkeypatch.chdir(tmp_path)
    return lambda: (images[:100], labels[:100], test_images[:20], test_labels[:20])


def test_the_trainer_of_transformers(few_digits, monkeypatch, capsys):
    pytest.importorskip('accelerate')
    pytest.importorskip('transformers')
    example = importlib.import_module('examples.transformers_trainer')
    monkeypatch.setattr(example, 'load_digits', few_digits)
    metrics = example.main(steps=2)
    assert 0 <= metrics['eval_accuracy'] <= 1
    assert capsys.readouterr().out.count(' subset ') == 12


def test_lightning(few_digits, monkeypatch, capsys):
    pytest.importorskip('lightning')
    example = importlib.import_module('examples.lightning_module')
    monkeypatch.setattr(example, 'load_digits', few_digits)
    metrics = example.main(epochs=1)
    assert 0 <= float(metrics['accuracy']) <= 1
    assert float(metrics['drop_rate']) == pytest.approx(0.1, abs=0.05)
    assert capsys.readouterr().out.count(' subset ') == 12
