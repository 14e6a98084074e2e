"""Which grid a loaded position embedding is taken for, and what is refused."""

import pytest

from cosub_mm.architectures.position_grid import PositionGridError, check_grid, find_grid


@pytest.mark.parametrize(
    ('tokens', 'own', 'noted', 'given', 'grid'),
    [
        (196, (14, 14), None, None, (14, 14)),
        (196, (24, 24), None, None, (14, 14)),
        (196, (18, 32), None, None, (14, 14)),
        (128, (8, 16), None, None, (8, 16)),  # no square: whose could it be but the model's own
        (576, (24, 24), (18, 32), None, (18, 32)),  # equal counts, other grids
        (576, (18, 32), (18, 32), (24, 24), (18, 32)),  # the checkpoint knows better
        (576, (18, 32), None, (24, 24), (24, 24)),
        (128, (14, 14), None, (16, 8), (16, 8)),
        (576, (18, 32), None, (14, 14), (18, 32)),  # trained on from the option's, old checkpoint
    ],
)
def test_the_grid_is_known_or_the_likely_one(tokens, own, noted, given, grid):
    assert find_grid(tokens, own, noted, given).grid == grid


@pytest.mark.parametrize(
    ('tokens', 'own', 'given', 'told'),
    [
        (144, (9, 16), None, r'12x12 patches.*or of 9x16.*pretrained_grid=\(rows'),
        (128, (14, 14), None, r'128 position embeddings.*no square.*pretrained_grid'),
        (128, (14, 14), (4, 4), r'which 16 of 4x4 are not'),
    ],
)
def test_what_cannot_be_known_is_an_error(tokens, own, given, told):
    with pytest.raises(PositionGridError, match=told):
        find_grid(tokens, own, None, given)


@pytest.mark.parametrize('grid', [14, (1, 2, 3), (0, 4), ('a', 'b')])
def test_a_grid_is_two_numbers(grid):
    with pytest.raises(ValueError, match='rows, columns'):
        check_grid(grid)
