"""Every strategy against a few lines of plain torch, in float64, over three optimisation steps."""

import copy
import math

import pytest
import torch
import torch.nn.functional as F
from mmpretrain.models import ImageClassifier
from mmpretrain.registry import MODELS
from torch.nn.functional import binary_cross_entropy_with_logits as bce

from cosub_mm.stochastic_depth import realised_drop_rate
from tests.models.classifiers.strategies import CLASSES, NAMES, batch, build, checkpoint, network


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp('teacher')
    checkpoint(path)
    return path


def scores(model, x):
    return model.head(model.backbone(x))


class Plain:
    """What the papers say, with nothing of ours but the network: ``loss(x, y)`` of one step."""

    def __init__(self, model):
        self.model = model

    def after(self):
        """Behind a step of the optimizer."""


class Cosub(Plain):
    def loss(self, x, y):
        z1, z2 = scores(self.model, torch.cat((x, x))).chunk(2)
        s1, s2 = z1.detach().sigmoid(), z2.detach().sigmoid()
        return (bce(z1, y) + bce(z2, y) + bce(z1, s2) + bce(z2, s1)) / 4


class RDrop(Plain):
    def loss(self, x, y):
        z = scores(self.model, torch.cat((x, x))).chunk(2)
        p, q = (value.sigmoid() for value in z)

        def kl(a, b):
            return (a * (a / b).log() + (1 - a) * ((1 - a) / (1 - b)).log()).mean()

        return (bce(z[0], y) + bce(z[1], y)) / 4 + (kl(p, q) + kl(q, p)) / 4


class Distilled(Plain):
    def __init__(self, model):
        super().__init__(model)
        path = model.teacher_file
        self.teacher = MODELS.build(dict(type='ImageClassifier', **network(24, 24))).double()
        self.teacher.load_state_dict(torch.load(path)['state_dict'])
        self.teacher.eval()

    def taught(self, x):
        with torch.no_grad():
            return scores(self.teacher, F.interpolate(x, 24, mode='bicubic', antialias=True))

    def loss(self, x, y):
        z = scores(self.model, x)
        return (bce(z, y) + bce(z, self.taught(x).sigmoid())) / 2


class DistilledCosub(Distilled):
    def loss(self, x, y):
        t = self.taught(x).sigmoid()
        z1, z2 = scores(self.model, torch.cat((x, x))).chunk(2)
        s1, s2 = z1.detach().sigmoid(), z2.detach().sigmoid()
        label = (bce(z1, y) + bce(z2, y)) / 2
        return label / 2 + (bce(z1, t) + bce(z2, t)) / 8 + (bce(z1, s2) + bce(z2, s1)) / 8


class MeanTeacher(Plain):
    def __init__(self, model):
        super().__init__(model)
        self.teacher, self.steps = copy.deepcopy(model).eval(), 0

    def loss(self, x, y):
        with torch.no_grad():
            t = scores(self.teacher, x).sigmoid()
        z = scores(self.model, x)
        return (bce(z, y) + bce(z, t)) / 2

    def after(self):
        m = (0.5, 0.9 - 0.4 * (1 + math.cos(math.pi / 2)) / 2, 0.9)[self.steps]
        self.steps += 1
        for mine, new in zip(self.teacher.parameters(), self.model.parameters()):
            mine.data = m * mine.data + (1 - m) * new.data


class CoTraining(Plain):
    def loss(self, x, y):
        z1, z2 = scores(self.model, x), scores(self.model.peer, x)
        s1, s2 = z1.detach().sigmoid(), z2.detach().sigmoid()
        return (bce(z1, y) + bce(z1, s2)) / 2 + (bce(z2, y) + bce(z2, s1)) / 2


class MaskSub(Plain):
    def half(self, x):
        vit = self.model.backbone
        patches = vit.patch_embed(x)[0] + vit.pos_embed
        chosen = torch.rand(len(x), 16).argsort(1)[:, :8]
        kept = torch.stack([image[index] for image, index in zip(patches, chosen)])
        x = torch.cat((vit.cls_token.expand(len(x), -1, -1), kept), 1)
        for layer in vit.layers:
            x = layer(x)
        return self.model.head((vit.ln1(x)[:, 0],))

    def loss(self, x, y):
        main = scores(self.model, x)
        return (bce(main, y) + bce(self.half(x), main.detach().sigmoid())) / 2


class PathSub(MaskSub):
    def half(self, x):
        ends = [m for m in self.model.modules() if hasattr(m, 'drop_prob')]
        for end in ends:
            end.drop_prob = 0.5
        z = scores(self.model, x)
        for end in ends:
            end.drop_prob = 0.25
        return z


PLAIN = dict(
    zip(
        NAMES,
        (Cosub, RDrop, Distilled, DistilledCosub, MeanTeacher, CoTraining, MaskSub, PathSub),
        strict=True,
    )
)


@pytest.mark.parametrize('name', NAMES)
def test_three_steps_are_those_of_plain_torch(name, folder):
    """Losses, every gradient, and every weight after each step."""
    model, reference = build(name, folder), build(name, folder)
    reference.teacher_file = folder / 'teacher.pth'
    plain = PLAIN[name](reference)
    if hasattr(model, 'start_teacher'):
        model.start_teacher()
    optimizers = [
        torch.optim.AdamW(m.parameters(), lr=0.01, weight_decay=0.1) for m in (model, reference)
    ]
    for step in range(3):
        x, labels, samples = batch(seed=step)
        torch.manual_seed(step)
        losses = model(x, samples, mode='loss')
        loss = model.parse_losses(losses)[0]
        torch.manual_seed(step)
        expected = plain.loss(x, F.one_hot(labels, CLASSES).double())
        torch.testing.assert_close(loss, expected, rtol=1e-12, atol=0)
        assert 0 <= losses['agreement'] <= 1
        for value, optimizer in zip((loss, expected), optimizers):
            optimizer.zero_grad()
            value.backward()
        named = zip(model.named_parameters(), reference.parameters(), strict=True)
        for (key, ours), theirs in named:
            torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-9, atol=1e-14, msg=key)
        for optimizer in optimizers:
            optimizer.step()
        plain.after()
        if hasattr(model, 'update_teacher'):
            model.update_teacher()
        for ours, theirs in zip(model.parameters(), reference.parameters()):
            torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize('name', NAMES)
def test_weights_and_prediction_are_image_classifiers(name, folder):
    """Checkpoints load in either direction, and prediction knows nothing of the strategy."""
    model = build(name, folder)
    assert isinstance(model, ImageClassifier)
    plain = MODELS.build(dict(type='ImageClassifier', **network())).double()
    weights = {k: v for k, v in model.state_dict().items() if not k.startswith('peer.')}
    assert len(weights) == len(model.state_dict()) or name == 'CoTrainingClassifier'
    plain.load_state_dict(weights, strict=True)
    x, _, _ = batch()
    model.eval(), plain.eval()
    for ours, theirs in zip(model.predict(x), plain.predict(x)):
        assert torch.equal(ours.pred_score, theirs.pred_score)
    for value in plain.state_dict().values():
        value.mul_(2)
    lacking = model.load_state_dict(plain.state_dict(), strict=False)
    assert not lacking.unexpected_keys
    assert {key.partition('.')[0] for key in lacking.missing_keys} <= {'peer'}
    for ours, theirs in zip(model.predict(x), plain.predict(x)):
        assert torch.equal(ours.pred_score, theirs.pred_score)


@pytest.mark.parametrize('name', NAMES)
def test_bfloat16(name, folder):
    """Under autocast: targets and losses in fp32, and a gradient for every parameter."""
    model = build(name, folder).float()
    if hasattr(model, 'start_teacher'):
        model.start_teacher()
    x, _, samples = batch()
    torch.manual_seed(1)
    exact = model.parse_losses(model(x.float(), samples, mode='loss'))[0]
    torch.manual_seed(1)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        losses = model(x.float(), samples, mode='loss')
    loss = model.parse_losses(losses)[0]
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, exact, rtol=0.05, atol=0.01)
    loss.backward()
    for key, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), key


COMPILED = [name for name in NAMES if 'cosub' not in name.lower() and 'path' not in name]


@pytest.mark.parametrize('name', COMPILED)
def test_a_compiled_backbone(name, folder):
    """Without drops, whose random numbers the compiler draws in another way: equal."""
    model, compiled = (build(name, folder, drop_path_rate=None) for _ in range(2))
    compiled.backbone.compile(backend='eager', fullgraph=True)
    for step in range(2):
        x, _, samples = batch(seed=step)
        results = []
        for m in (model, compiled):
            if hasattr(m, 'start_teacher'):
                m.start_teacher()
            torch.manual_seed(step)
            loss = m.parse_losses(m(x, samples, mode='loss'))[0]
            results.append((loss, *torch.autograd.grad(loss, list(m.parameters()))))
        torch.testing.assert_close(results[0], results[1], rtol=1e-9, atol=1e-13)


def test_a_compiled_backbone_drops_at_both_rates(folder):
    """PathSub: the second pass is a graph of its own, of the higher rate."""
    small = network()['backbone']
    small['arch'] = dict(small['arch'], num_layers=1)
    model, graphs = build('MaskSubClassifier, path', folder, ratio=0.75, backbone=small), []

    def backend(graph, inputs):
        graphs.append(graph)
        return graph

    model.backbone.compile(backend=backend)
    x, _, samples = batch(8)
    model.parse_losses(model(x, samples, mode='loss'))[0].backward()
    assert all(p.grad is not None for p in model.parameters())
    assert len(graphs) == 2 and realised_drop_rate(model.backbone) == (0.25 + 0.75) / 2
