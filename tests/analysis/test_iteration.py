"""Host time of an iteration: both ways train, and each part is counted once."""

import pytest

from cosub_mm.analysis import iteration
from cosub_mm.analysis.iteration.parts import Parts


def test_a_part_within_a_part_is_not_counted_twice(monkeypatch):
    now = [0.0]
    monkeypatch.setattr('time.process_time', lambda: now[0])
    parts = Parts()

    class Owner:
        def step(self):
            now[0] += 5

    owner = Owner()
    parts.watch(owner, 'step', 'optimizer')

    def call():
        with parts('guard'):
            now[0] += 2
            owner.step()
        now[0] += 3

    parts.iteration(call)
    seconds = {name: values[0] for name, values in parts.seconds.items() if values[0]}
    assert seconds == {'optimizer': 5, 'guard': 2, 'hooks and the rest': 3, 'all': 10}


@pytest.mark.parametrize(
    ('measure', 'ways'),
    [
        (iteration.classification, ['ours', 'by hand on timm']),
        (iteration.segmentation, ['ours', "mmseg's"]),
    ],
)
def test_both_ways_train_in_turns(measure, ways):
    times = measure(rounds=2, warmup=1, images=2)
    assert [*times] == ways
    for seconds in times.values():
        assert all(len(seconds[part]) == 2 for part in (*iteration.PARTS, 'all'))
        assert min(seconds['backward']) > 0 < min(seconds['optimizer'])
    assert min(times['ours']['guard']) > 0
    rows = [line.split('|')[1].strip() for line in iteration.table(times).splitlines()[2:]]
    assert rows == [*iteration.PARTS, 'all']
