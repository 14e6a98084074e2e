"""What somebody registers is proven as soon as an input is at hand; other faults have own words."""

import threading

import pytest
import timm
import torch
from torch import nn

from cosub_mm.stochastic_depth import (
    Branch,
    UnknownBlockError,
    apply_stochastic_depth,
    copy_batch_late,
    register_block,
)
from cosub_mm.stochastic_depth.places import table
from cosub_mm.stochastic_depth.places.branch import Side  # noqa: F401  (for eval)


@pytest.mark.parametrize(
    'line',
    [
        "Branch('norm1', 'ls1', after=True)",
        "Branch(None, 'add', shortcut='residual', own_rate='rate')",
        "Branch('a', 'b', inert=('c',), sides=(Side(module='attn', argument='mask', ndim=2),))",
    ],
)
def test_a_branch_is_shown_as_it_is_written(line):
    assert repr(eval(line)) == line


WRONG = 'the branch is not what it is registered as'


@pytest.fixture(autouse=True)
def _own_table(monkeypatch):
    monkeypatch.setattr(table, 'BLOCKS', dict(table.BLOCKS))


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm, self.mlp, self.mixer = nn.LayerNorm(6), nn.Linear(6, 6), nn.Linear(6, 6)
        self.drop_path = nn.Identity()

    def forward(self, x):
        y = self.norm(x)
        y = y + self.mixer(y.mean(0, keepdim=True))  # the mean over the samples
        return x + self.drop_path(self.mlp(y))


class Right(Block):
    def forward(self, x):
        return x + self.drop_path(self.mlp(self.norm(x).tanh()))


def model(block):
    return nn.Sequential(block(), block()).train()


@pytest.mark.parametrize('rows', [2, 8])
def test_a_wrong_registration_is_refused_at_the_first_input(rows):
    register_block(Block, Branch('norm', 'drop_path'))
    net = model(Block)
    apply_stochastic_depth(net, 0.5, implementation='subset')
    net.eval()(torch.randn(rows, 6))
    for _ in range(2):
        with pytest.raises(UnknownBlockError, match=f'0 .*Block.*{WRONG}.*rows of the branch mix'):
            net.train()(torch.randn(rows, 6))
    apply_stochastic_depth(net, 0.5, implementation='mask')
    net(torch.randn(rows, 6))


def test_a_wrong_registration_is_refused_on_the_example():
    register_block(Block, Branch('norm', 'drop_path'))
    net = model(Block)
    with pytest.raises(UnknownBlockError, match=WRONG):
        apply_stochastic_depth(net, 0.5, example_input=torch.randn(2, 6))
    assert isinstance(net[0].drop_path, nn.Identity)


def test_a_branch_that_ends_elsewhere_is_refused():
    register_block(Right, Branch('mixer', 'drop_path'))
    net = model(Right)
    apply_stochastic_depth(net, 0.5, implementation='subset')
    with pytest.raises(UnknownBlockError, match=WRONG):
        net(torch.randn(4, 6))


@pytest.mark.parametrize('autocast', [False, True])
@pytest.mark.parametrize('example', [None, torch.randn(3, 6)])
def test_a_right_one_is_proven_once_and_changes_no_step(example, autocast):
    register_block(Right, Branch('norm', 'drop_path'))
    calls = []
    results = []
    for proven in (False, True):
        torch.manual_seed(0)
        net = model(Right)
        apply_stochastic_depth(net, 0.5, implementation='subset', example_input=example)
        if proven:
            net(torch.randn(4, 6))
            net.eval()
            net.train()
            count = len(net[0]._forward_pre_hooks)
            calls.append(count)
        torch.manual_seed(1)
        with torch.autocast('cpu', torch.bfloat16, enabled=autocast):
            results.append(net(torch.randn(4, 6)))
    assert torch.equal(*results) and calls == [0]


def test_a_right_one_in_a_checkpoint():
    register_block(Right, Branch('norm', 'drop_path'))
    results = []
    for checkpointed in (False, True):
        torch.manual_seed(0)
        net = model(Right)
        apply_stochastic_depth(net, 0.5, implementation='subset')
        x = torch.randn(4, 6, requires_grad=True)
        torch.manual_seed(1)
        run = torch.utils.checkpoint.checkpoint if checkpointed else lambda f, x, **_: f(x)
        run(net, x, use_reentrant=False).sum().backward()
        results.append(x.grad)
    assert torch.equal(*results)


def encoder(batch_first):
    layer = nn.TransformerEncoderLayer(
        8, 2, 16, dropout=0.0, batch_first=batch_first, norm_first=True
    )
    return nn.TransformerEncoder(layer, 2, enable_nested_tensor=False).train()


def test_a_sequence_first_layer_is_refused():
    register_block(
        nn.TransformerEncoderLayer,
        Branch('norm1', 'dropout1', after=True),
        Branch('norm2', 'dropout2', after=True),
    )
    with pytest.raises(UnknownBlockError, match=r'layers.0 .*second dimension.*batch_first'):
        apply_stochastic_depth(encoder(False), 0.5)
    net = encoder(True)
    apply_stochastic_depth(net, 0.5, implementation='subset')
    assert net(torch.randn(6, 5, 8)).shape == (6, 5, 8)


class Lora(nn.Module):
    def __init__(self, base):
        super().__init__()
        self.base, self.extra = base, nn.Linear(24, 24)

    def forward(self, x):
        return self.base(x) + self.extra(x)


def replace_start(net):
    net.blocks[0].norm1 = nn.LayerNorm(24)


def replace_end(net):
    net.blocks[0].drop_path1 = nn.Identity()


def wrap(net):
    net.blocks[0].norm1 = Lora(net.blocks[0].norm1)


@pytest.mark.parametrize(
    ('change', 'sentence'),
    [
        (replace_start, "'norm1' was replaced by a LayerNorm"),
        (replace_end, "'drop_path1' was replaced by a Identity"),
        (wrap, "'norm1'.* was wrapped in a Lora"),
    ],
)
def test_a_model_that_was_changed_is_told_so(change, sentence):
    net = vit()
    change(net)
    with pytest.raises(RuntimeError, match=sentence) as caught:
        net(torch.randn(4, 3, 32, 32))
    assert WRONG not in str(caught.value) and 'apply_stochastic_depth' in str(caught.value)


def test_an_end_that_is_gone_is_told_where_nothing_fails():
    """The residual of the one row that is kept would be added to both."""
    net = vit()
    replace_end(net)
    with pytest.raises(RuntimeError, match="'drop_path1' was replaced by a Identity"):
        net(torch.randn(2, 3, 32, 32))
    with pytest.raises(RuntimeError, match="'drop_path1' was replaced by a Identity"):
        net.blocks[0](torch.randn(2, 5, 24))


def vit():
    net = timm.create_model('vit_tiny_patch16_224', depth=1, embed_dim=24, img_size=32).train()
    apply_stochastic_depth(net, 0.5, implementation='subset')
    return net


def replica(module):
    """As torch.nn.parallel.replicate makes them, which does so on accelerators only."""
    twin = module._replicate_for_data_parallel()
    for name, parameter in module.named_parameters(recurse=False):
        setattr(twin, name, parameter)
    for name, child in module.named_children():
        setattr(twin, name, replica(child))
    return twin


def test_replicas_are_refused():
    with pytest.raises(RuntimeError, match='nn.DataParallel'):
        replica(vit())(torch.randn(4, 3, 32, 32))


def test_two_threads_are_told_so():
    net, x = vit(), torch.randn(4, 3, 32, 32)
    entered, go, said = threading.Event(), threading.Event(), []

    def wait(module, args):
        entered.set()
        go.wait(20)

    def first():
        try:
            net(x)
        except RuntimeError as error:
            said.append(str(error))

    handle = net.blocks[0].attn.register_forward_pre_hook(wait)
    thread = threading.Thread(target=first)
    thread.start()
    entered.wait(20)
    handle.remove()

    def let_the_other_end(module, args, output):
        if threading.current_thread() is not thread:
            go.set()
            thread.join()

    inner = net.blocks[0].attn.register_forward_hook(let_the_other_end)
    try:
        net(x)
    except RuntimeError as error:
        said.append(str(error))
    inner.remove()
    go.set()
    thread.join()
    assert any('Two threads' in text for text in said)


def test_fx_is_told_so():
    net = nn.Sequential(vit().blocks[0])
    with pytest.raises(Exception, match=r'torch\.fx traces this model'):
        torch.fx.symbolic_trace(net)


@pytest.mark.parametrize('block', [Block, Right])
def test_the_trial_of_a_late_copy_proves_and_hides_nothing(block):
    register_block(block, Branch('norm', 'drop_path'))
    net = nn.Sequential(nn.Linear(6, 6), block(), block()).train()
    apply_stochastic_depth(net, 0.5, implementation='subset')
    x = torch.randn(4, 6)
    with copy_batch_late(net, x, 2) as batch:
        if block is Block:
            with pytest.raises(UnknownBlockError, match=WRONG):
                net(batch.inputs)
        else:
            assert batch.late and len(net(batch.inputs)) == 8
