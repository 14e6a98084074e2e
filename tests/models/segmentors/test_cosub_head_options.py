"""What a head says about its loss reaches the loss of cosub: each option alone, by hand."""

import pytest
import torch
import torch.nn.functional as F

from tests.models.segmentors.test_cosub import HEAD, batch, build


@pytest.mark.parametrize(
    'options',
    [
        dict(ignore_index=2),
        dict(align_corners=True),
        dict(loss_decode=dict(type='CrossEntropyLoss', loss_weight=0.25)),
    ],
    ids=lambda options: next(iter(options)),
)
def test_options_of_the_head_reach_the_loss(options):
    head = dict(HEAD, **options)
    model = build(decode_head=head, auxiliary_head=None, lam=0.3).double().train()
    inputs, samples = batch(ignored=False)
    torch.manual_seed(1)
    losses = model.loss(inputs.double(), samples)

    torch.manual_seed(1)
    logits = model.decode_head(model.backbone(inputs.double().repeat(2, 1, 1, 1)))
    corners = head.get('align_corners', False)
    logits = F.interpolate(logits, (32, 32), mode='bilinear', align_corners=corners)
    target = torch.cat([sample.gt_sem_seg.data for sample in samples])
    valid = target != head.get('ignore_index', 255)
    first, second = (z.permute(0, 2, 3, 1)[valid] for z in logits.chunk(2))
    weight = head.get('loss_decode', {}).get('loss_weight', 1.0)
    label = (F.cross_entropy(first, target[valid]) + F.cross_entropy(second, target[valid])) / 2
    cosub = (
        F.cross_entropy(first, second.softmax(1)) + F.cross_entropy(second, first.softmax(1))
    ) / 2
    expected = {
        'decode.loss_label': weight * 0.3 * label,
        'decode.loss_cosub': weight * 0.7 * cosub,
        'decode.acc_seg': 50
        * sum((z.argmax(1) == target[valid]).double().mean() for z in (first, second)),
        'decode.agreement': (first.argmax(1) == second.argmax(1)).double().mean(),
    }
    for name, value in expected.items():
        found = losses[name].double().squeeze()
        torch.testing.assert_close(found, value.detach(), rtol=1e-6, atol=0, msg=name)
