"""The analysis tools of stochastic depth: exact figures, and that the commands run."""

import sys
from collections import Counter
from pathlib import Path

import pytest
import timm
import torch
from timm.layers import DropPath
from torch import nn
from torch.nn import functional as F

from cosub_mm.analysis import measure
from cosub_mm.analysis.depth import (
    coverage,
    equality,
    host,
    references,
    side_by_side,
    table7,
    variants,
)
from cosub_mm.analysis.depth.cosub_step import make_steps
from cosub_mm.analysis.depth.timm_models import Candidate
from cosub_mm.launch.errors import run_tool
from cosub_mm.stochastic_depth import apply_stochastic_depth, describe
from tests import fresh
from tools.analysis_tools import benchmark_stochastic_depth

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / 'tools/analysis_tools'


def run(script, *arguments):
    return fresh.run([FOLDER / script, *arguments], cwd=ROOT)


def vit(**kwargs):
    torch.manual_seed(0)
    return timm.create_model('test_vit', img_size=32, patch_size=8, depth=2, **kwargs).train()


def test_saved_bytes_of_a_known_step():
    layer = nn.Linear(8, 4, bias=False)
    x = torch.randn(16, 8)

    def forward():
        y = layer(x)  # keeps x and the weight, which are there already
        return (torch.tanh(y) + torch.sigmoid(y)).sum()  # each keeps its own output; y is freed

    step = measure.Step(forward, list(layer.parameters()), torch.device('cpu'))
    assert measure.saved_bytes(step) == 4 * (2 * 16 * 4)


def test_saved_bytes_are_those_that_autograd_keeps():
    """Counted another way: the distinct storages that pass through hooks on saved tensors."""
    model = vit()
    apply_stochastic_depth(model, 0.5, implementation='subset')
    step = side_by_side.make_step(model, torch.randn(8, 3, 32, 32), torch.float32)
    there = {p.untyped_storage().data_ptr() for p in model.parameters()}
    kept = []

    def pack(saved):
        kept.append(saved.untyped_storage())

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda nothing: nothing):
        step.forward()
    distinct = {storage.data_ptr(): storage.nbytes() for storage in kept}
    saved = sum(nbytes for pointer, nbytes in distinct.items() if pointer not in there)
    images = 8 * 3 * 32 * 32 * 4
    assert measure.saved_bytes(step) == pytest.approx(saved - images, rel=0.01)


@pytest.mark.parametrize('rate', [0.1, 0.2, 0.45, 0.6])
def test_ours_saves_least_at_equal_rows(rate):
    x = torch.randn(20, 3, 32, 32)
    names = ['mask', 'index_add', 'dinov2', 'subset']
    rows = side_by_side.compare_at_rate(vit(), x, rate, names, 0, 0, None, with_peak=False)
    rows = {row.variant: row for row in rows}
    kept = {name: row.kept for name, row in rows.items() if name != 'mask'}
    assert kept == pytest.approx(dict.fromkeys(kept, 1 - rate))
    assert rows['subset'].saved < min(rows['index_add'].saved, rows['dinov2'].saved)
    assert 1 - rows['subset'].saved_ratio > 0.8 * rate  # the rest sees all rows: much of two blocks


@pytest.mark.parametrize('name', ['index_add', 'dinov2'])
def test_references_are_mask_on_the_same_rows(name):
    torch.manual_seed(0)
    x = torch.randn(10, 5, dtype=torch.float64)
    weight = torch.randn(5, 5, dtype=torch.float64)
    torch.manual_seed(3)
    result = references.REFERENCES[name](x, lambda rows: F.gelu(rows @ weight), 0.4)
    torch.manual_seed(3)
    kept = torch.zeros(10, 1, dtype=torch.float64)
    kept[torch.randperm(10)[:6]] = 1 / 0.6
    torch.testing.assert_close(result, x + kept * F.gelu(x @ weight))


def test_references_replace_the_forward_of_a_vit():
    model, x = vit(), torch.randn(4, 3, 32, 32)
    expected = model.eval()(x)
    for name in references.REFERENCES:
        twin = variants.make_variant(model, name, 0.0).eval()
        torch.testing.assert_close(twin(x), expected)
        assert next(twin.parameters()) is next(model.parameters())
    with pytest.raises(ValueError, match='written for ViT blocks'):
        references.put_reference(nn.Linear(2, 2), 'index_add', 0.1)


def test_other_models_are_masked_by_timms_own_module():
    model = timm.create_model('test_resnet', num_classes=3).train()
    twin = variants.make_variant(model, 'mask', 0.4)
    places = [m for m in twin.modules() if isinstance(m, DropPath)]
    assert len(places) == 4 and {m.drop_prob for m in places} == {0.4}
    assert all(m.training for m in places) and describe(twin) is None
    assert next(twin.parameters()) is next(model.parameters())


def test_peak_memory_of_a_known_step():
    layer = nn.Linear(256, 256, bias=False)
    x = torch.randn(1024, 256)
    step = measure.Step(lambda: layer(x).sum(), list(layer.parameters()), torch.device('cpu'))
    output, gradient = 1024 * 256 * 4, 256 * 256 * 4
    assert output <= measure.peak_bytes(step, step.device) <= 2.2 * output + 2 * gradient
    assert layer.weight.grad is None


def test_interleaving_takes_turns():
    calls = []

    class Recorded(measure.Step):
        def __call__(self, clock):
            calls.append(self.device)
            return 1.0, 2.0

    steps = {name: Recorded(None, [], name) for name in 'abc'}
    timings = measure.interleave(steps, 4, 1, None)
    assert [sorted(calls[i : i + 3]) for i in range(0, 15, 3)] == [['a', 'b', 'c']] * 5
    assert timings['a'].ratios(timings['b']) == [1.0] * 4


def test_cosub_steps_agree_on_the_loss_and_the_late_one_saves():
    model, x = vit(num_classes=7), torch.randn(6, 3, 32, 32)
    steps, reason = make_steps(model, x, 0.5, torch.float32)
    assert reason == ''
    torch.manual_seed(5)
    late = steps['late'].forward()
    torch.manual_seed(5)
    assert torch.equal(late, steps['input'].forward())
    saved = {name: measure.saved_bytes(step) for name, step in steps.items()}
    assert saved['late'] < saved['input'] < 2 * saved['supervised']


def test_largest_batch_is_found_by_bisection():
    assert table7.largest_batch(lambda size: size <= 219) == 216
    with pytest.raises(ValueError, match='8 images'):
        table7.largest_batch(lambda size: False)


def test_the_table_of_gpus_is_made_the_same_way_on_a_cpu():
    settings = {'test_vit': 0.25}
    text = table7.run(torch.device('cpu'), 1, 0, settings, ceiling=8, with_compile=False)
    rows = {
        line.split('|')[1].strip(): line.split('|') for line in text.splitlines() if '|' in line
    }
    steps = ('masking', 'DINOv2-style subset', 'ours', 'supervised, masking', 'cosub, ours')
    assert all(int(rows[step][2]) == 8 for step in steps)
    assert float(rows['masking'][7]) == 1 and float(rows['ours'][7]) < 1  # memory ratio
    assert 'aten::addmm' in text  # the profile
    assert float(rows['index_add_'][4]) == 1 and float(rows['index_put_'][3]) > 0


@pytest.mark.parametrize(
    ('busy', 'idle'),
    [([], 1), ([(0, 10)], 0), ([(0, 4), (2, 5), (7, 8)], 0.4), ([(6, 8), (1, 3), (1, 2)], 0.6)],
)
def test_idle_is_what_no_kernel_covers(busy, idle):
    assert table7.idle_share(busy, 10) == pytest.approx(idle)


def test_all_ways_to_write_rows_write_the_same():
    rows, kept = torch.randn(3, 2, 4), torch.tensor([4, 0, 2])
    expected = torch.zeros(5, 2, 4)
    expected[kept] = rows * 1.25
    for write in table7.WRITES.values():
        torch.testing.assert_close(write(rows, kept, 5), expected)


class Mixing(nn.Module):
    """A block whose branch mixes rows, so that no subset of them can be right."""

    def __init__(self):
        super().__init__()
        self.linear, self.drop_path = nn.Linear(8, 8), nn.Identity()

    def forward(self, x):
        return x + self.drop_path(self.linear(x) - self.linear(x).mean(0))


class Net(nn.Module):
    def __init__(self, block):
        super().__init__()
        self.flatten, self.block = nn.Linear(3 * 16, 8), block

    def forward(self, x):
        return self.block(self.flatten(x.flatten(1)))


def test_coverage_judges_handled_refused_and_broken():
    good = Candidate('good', 'test_vit', lambda side: vit(), (32,))
    mixing = Candidate('mixing', 'm', lambda side: Net(Mixing()), (4,))
    broken = Candidate('broken', 'b', lambda side: nn.Linear(5, 5), (4,))
    found = list(coverage.judge_all([good, mixing, broken, 'plain'], set()))
    assert [v.status for v in found] == ['handled', 'refused', 'not run', 'no drop path']
    text = coverage.coverage_table('x', found)
    assert '1 of 3' in text and 'Refused: `mixing`' in text
    assert coverage.read_tables(text)['x'] == found


def test_comparison_finds_a_wrong_gradient(monkeypatch):
    from cosub_mm.stochastic_depth.step import module

    right = module.put_rows_eagerly
    monkeypatch.setattr(module, 'put_rows_eagerly', lambda x, rows: right(2 * x - x.detach(), rows))
    assert not equality.compare_implementations(vit(), torch.randn(4, 3, 32, 32)).equal


def test_benchmark_writes_table_and_plot(tmp_path):
    result = run(
        'benchmark_stochastic_depth.py',
        *('--model', 'test_vit', 'test_resnet', '--batch-size', 4, '--rates', 0.25, '--rounds', 2),
        *('--warmup', 0, '--output', tmp_path),
    )
    assert result.returncode == 0, result.stderr
    text = (tmp_path / 'test_vit_fp32_b4.md').read_text()
    assert text.count('| 0.25 |') == 5 and 'torch' in text
    assert (tmp_path / 'test_vit_fp32_b4.png').stat().st_size > 10_000
    assert (tmp_path / 'test_resnet_fp32_b4.md').read_text().count('| 0.25 |') == 4


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['--table7'], '--device cuda'),
        (['--rates', '1.2'], 'must lie in [0, 1)'),
        (['--variants', 'ours'], 'must contain mask'),
        (['--model', 'no_such_model'], 'neither a model of timm'),
    ],
)
def test_benchmark_refuses_in_one_line(capsys, arguments, message):
    assert run_tool(benchmark_stochastic_depth.main, arguments) == 2
    error = capsys.readouterr().err
    assert message in error and 'Traceback' not in error


def test_host_time_of_five_ways_side_by_side():
    times = host.measure_host(0.25, rounds=2, warmup=0)
    assert all(0 < v[0] <= v[1] and 0 < v[2] <= v[3] for v in times.values())
    lines = host.table(times).splitlines()
    assert [line.split('|')[1].strip() for line in lines[2:]] == list(host.WAYS)
    assert len(host.WAYS) == 5 and 'in all' in lines[2]


def calls_of(model, x) -> Counter:
    """How often each Python function and each built-in is called in one forward pass."""
    calls = Counter()

    def note(frame, event, argument):
        if event == 'call':
            calls[frame.f_code.co_qualname] += 1
        elif event == 'c_call':
            calls[argument.__qualname__] += 1

    sys.setprofile(note)
    try:
        model(x)
    finally:
        sys.setprofile(None)
    return calls


@torch.no_grad()
@pytest.mark.parametrize('implementation', ['mask', 'subset'])
def test_evaluation_runs_what_the_untouched_model_runs(implementation):
    """Counted and not timed, for a machine that others use; --host prints the time."""
    model, x = (
        timm.create_model('test_vit', drop_path_rate=0.25).eval(),
        torch.randn(2, 3, 160, 160),
    )
    model(x)
    before = calls_of(model, x)
    apply_stochastic_depth(model, 0.25, implementation=implementation)
    training, evaluation = calls_of(model.train(), x), calls_of(model.eval(), x)
    # timm's DropPath calls a function of its own where ours returns at once
    assert evaluation.total() <= before.total() < training.total()
    assert evaluation.keys() - before.keys() <= {'StochasticDepth.forward'}
