"""Settings that belong to every run, whatever its recipe is."""

import pytest
from mmengine.config import Config

from tests.configs.recipe_table import FOLDERS, paper_configs


@pytest.mark.parametrize('folder', FOLDERS)
def test_order_and_randomness_of_every_run(folder):
    """Training is shuffled anew in each epoch, evaluation is not; processes draw on their own."""
    for path in paper_configs(folder):
        cfg = Config.fromfile(path)
        assert cfg.train_dataloader.sampler.get('shuffle', True) is True, path
        hook = cfg.default_hooks.get('sampler_seed')
        assert hook and hook.type == 'DistSamplerSeedHook', f'{path}: each epoch the same order'
        assert cfg.randomness.get('diff_rank_seed') is True, f'{path}: the same submodels'
        for part in ('val', 'test'):
            loader = cfg.get(f'{part}_dataloader')
            if loader:
                assert loader.sampler.shuffle is False, path
                assert not loader.get('drop_last'), f'{path}: pictures would not be tested'
