import numpy as np
import pytest
from mmengine.config import Config
from PIL import Image

import cosub_mm  # noqa: F401
from cosub_mm.checks.data import check_data, set_bad_image_policy
from cosub_mm.launch.config import load_config

CLASSES = ('cat', 'dog', 'eel')


def _image(path, seed=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.RandomState(seed).randint(0, 255, (12, 12, 3), np.uint8)).save(path)


@pytest.fixture
def folders(tmp_path):
    for part in ('train', 'val'):
        for name in CLASSES:
            for i in range(2):
                _image(tmp_path / part / name / f'{i}.png', i)
    return tmp_path


@pytest.fixture
def scenes(tmp_path):
    for part in ('training', 'validation'):
        for i in range(3):
            _image(tmp_path / 'images' / part / f'{i}.jpg', i)
            mask = tmp_path / 'annotations' / part / f'{i}.png'
            mask.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.full((12, 12), i, np.uint8)).save(mask)
    return tmp_path


def _classification(root, num_classes=3, **dataset):
    def loader(part):
        return dict(
            dataset=dict(
                type='CustomDataset',
                data_root=str(root),
                data_prefix=part,
                pipeline=[dict(type='LoadImageFromFile'), dict(type='PackInputs')],
                **dataset,
            )
        )

    return Config(
        dict(
            default_scope='mmpretrain',
            model=dict(head=dict(type='LinearClsHead', num_classes=num_classes, in_channels=4)),
            train_dataloader=loader('train'),
            val_dataloader=loader('val'),
            test_dataloader=None,
        )
    )


def _segmentation(root, num_classes=3, kind='BaseSegDataset', **dataset):
    def loader(part):
        return dict(
            dataset=dict(
                type=kind,
                data_root=str(root),
                data_prefix=dict(img_path=f'images/{part}', seg_map_path=f'annotations/{part}'),
                pipeline=[],
                **(dict(metainfo=dict(classes=CLASSES)) if kind == 'BaseSegDataset' else {}),
                **dataset,
            )
        )

    heads = dict(
        decode_head=dict(type='UPerHead', num_classes=num_classes),
        auxiliary_head=[dict(type='FCNHead', num_classes=num_classes)],
    )
    return Config(
        dict(
            default_scope='mmseg',
            model=heads,
            train_dataloader=loader('training'),
            val_dataloader=loader('validation'),
        )
    )


def test_whole_data_pass(folders, tmp_path):
    check_data(_classification(folders))


def test_whole_segmentation_data_pass(scenes):
    check_data(_segmentation(scenes))


@pytest.mark.parametrize('policy', ['stop', 'skip'])
def test_checks_see_through_the_guard_and_other_wrappers(folders, policy):
    cfg = _classification(folders, num_classes=4)
    cfg.train_dataloader.dataset = dict(
        type='RepeatDataset', times=2, dataset=cfg.train_dataloader.dataset
    )
    set_bad_image_policy(cfg, policy)
    assert cfg.train_dataloader.dataset.type == 'mmpretrain.GuardedImages'
    with pytest.raises(ValueError, match='train_dataloader .CustomDataset. has 3 classes'):
        check_data(cfg)


def test_missing_root(tmp_path):
    with pytest.raises(FileNotFoundError, match="no data root '.*nowhere'.*--data-root"):
        check_data(_classification(tmp_path / 'nowhere'))
    with pytest.raises(FileNotFoundError, match="no data root '.*nowhere'"):
        check_data(_segmentation(tmp_path / 'nowhere'))


def test_empty_root(tmp_path):
    (tmp_path / 'train').mkdir()
    with pytest.raises(ValueError, match="'.*train' is empty"):
        check_data(_classification(tmp_path))


def test_missing_part(folders):
    cfg = _classification(folders)
    cfg.val_dataloader.dataset.data_prefix = 'valid'
    with pytest.raises(FileNotFoundError, match="val_dataloader.*no folder '.*valid'"):
        check_data(cfg)


def test_images_without_class_folders(tmp_path):
    _image(tmp_path / 'train' / 'a.png')
    with pytest.raises(ValueError, match='CLASS/IMAGE'):
        check_data(_classification(tmp_path))


def test_class_folder_without_image(folders):
    (folders / 'train' / 'fox').mkdir()
    (folders / 'train' / 'fox' / 'notes.txt').write_text('none yet')
    with pytest.raises(ValueError, match=r'1 of 4 class folders .* hold no image: fox.*\.png'):
        check_data(_classification(folders, num_classes=4))


def test_images_in_folders_of_a_class_folder_count(folders):
    _image(folders / 'train' / 'cat' / 'deep' / 'er' / '9.png')
    for i in range(2):
        (folders / 'train' / 'cat' / f'{i}.png').unlink()
    check_data(_classification(folders))


@pytest.mark.parametrize('number', [2, 10])
def test_other_number_of_classes(folders, number):
    message = f'3 classes, but the config says model.head.num_classes={number}.*num_classes=3'
    with pytest.raises(ValueError, match=message):
        check_data(_classification(folders, num_classes=number))


def test_other_number_of_classes_in_the_preprocessor(folders):
    cfg = _classification(folders)
    cfg.data_preprocessor = dict(num_classes=1000)
    with pytest.raises(ValueError, match='data_preprocessor.num_classes=1000.*=3'):
        check_data(cfg)


def test_validation_with_other_class_folders(folders):
    (folders / 'val' / 'eel').rename(folders / 'val' / 'ape')
    with pytest.raises(ValueError, match="'ape' is only in one"):
        check_data(_classification(folders))


def test_imagenet_needs_its_thousand_folders(folders):
    cfg = _classification(folders, num_classes=1000)
    for loader in (cfg.train_dataloader, cfg.val_dataloader):
        loader.dataset = dict(
            type='ImageNet', data_root=str(folders), split=loader.dataset.data_prefix, pipeline=[]
        )
    with pytest.raises(ValueError, match='3 class folders, but the data set names 1000'):
        check_data(cfg)


def _list(folders, lines):
    (folders / 'meta').mkdir()
    (folders / 'meta' / 'train.txt').write_text('\n'.join(lines))
    cfg = _classification(folders)
    cfg.train_dataloader.dataset.ann_file = 'meta/train.txt'
    return cfg


def test_list_of_images(folders):
    check_data(_list(folders, ['cat/0.png 0', 'dog/1.png 1']))


@pytest.mark.parametrize(
    ('lines', 'message'),
    [
        ([], 'is empty'),
        (['cat/0.png 0', 'dog/1.png'], "line 2 .* is 'dog/1.png'"),
        (['cat/0.png -1'], 'line 1'),
        (['cat/0.png 3'], 'has 4 classes'),
        (['cow/0.png 0'], 'first image'),
    ],
)
def test_bad_list_of_images(folders, lines, message):
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        check_data(_list(folders, lines))


def test_missing_list(folders):
    cfg = _classification(folders)
    cfg.train_dataloader.dataset.ann_file = 'meta/train.txt'
    with pytest.raises(FileNotFoundError, match=r'no list .*train\.txt'):
        check_data(cfg)


def test_images_without_masks(scenes):
    (scenes / 'annotations' / 'training' / '1.png').unlink()
    with pytest.raises(FileNotFoundError, match=r'1 of 3 images have no mask .*1\.png'):
        check_data(_segmentation(scenes))


def test_no_image_with_the_suffix(scenes):
    with pytest.raises(ValueError, match=r'no image \*\.bmp'):
        check_data(_segmentation(scenes, img_suffix='.bmp'))


def test_empty_segmentation_folder(scenes):
    for path in (scenes / 'images' / 'validation').iterdir():
        path.unlink()
    with pytest.raises(ValueError, match=r'val_dataloader.*validation. is empty'):
        check_data(_segmentation(scenes))


def test_split_file(scenes):
    cfg = _segmentation(scenes)
    (scenes / 'few.txt').write_text('0\n2\n')
    (scenes / 'annotations' / 'training' / '1.png').unlink()
    cfg.train_dataloader.dataset.ann_file = 'few.txt'
    check_data(cfg)
    cfg.train_dataloader.dataset.ann_file = 'none.txt'
    with pytest.raises(FileNotFoundError, match=r'no list .*none\.txt'):
        check_data(cfg)


def test_decode_heads_with_another_number_of_classes(scenes):
    message = r'decode_head.num_classes=19 and model.auxiliary_head\[0\].num_classes=19'
    with pytest.raises(ValueError, match=message):
        check_data(_segmentation(scenes, num_classes=19))


def test_ade20k_brings_its_classes(scenes):
    with pytest.raises(ValueError, match='ADE20KDataset.* has 150 classes.*=3'):
        check_data(_segmentation(scenes, kind='ADE20KDataset'))
    check_data(_segmentation(scenes, num_classes=150, kind='ADE20KDataset'))


def test_data_that_downloads_itself_needs_no_root(tmp_path):
    cfg = _classification(tmp_path, num_classes=10)
    for loader in (cfg.train_dataloader, cfg.val_dataloader):
        loader.dataset = dict(type='CIFAR10', data_root=str(tmp_path / 'later'), pipeline=[])
    check_data(cfg)
    cfg.model.head.num_classes = 100
    with pytest.raises(ValueError, match='10 classes'):
        check_data(cfg)


def test_unknown_policy(folders):
    with pytest.raises(ValueError, match="'ignore' is unknown; choose from stop, skip"):
        set_bad_image_policy(_classification(folders), 'ignore')


def test_the_guard_is_told_what_was_asked(folders):
    cfg = _classification(folders)
    cfg.val_dataloader.dataset.pipeline[0].color_type = 'color_ignore_orientation'
    set_bad_image_policy(cfg, 'skip', 123)
    train, val = cfg.train_dataloader.dataset, cfg.val_dataloader.dataset
    assert (train.policy, train.max_pixels, train.get('upright', True)) == ('skip', 123, True)
    assert (val.policy, val.max_pixels, val.upright) == ('skip', 123, False)


def test_policy_can_be_set_again(folders):
    cfg = _classification(folders)
    set_bad_image_policy(cfg, 'stop')
    set_bad_image_policy(cfg, 'skip')
    guard = cfg.train_dataloader.dataset
    assert guard.policy == 'skip' and guard.dataset.type == 'CustomDataset'


def test_images_are_decoded_by_our_loader_unless_told_otherwise(folders):
    cfg = _classification(folders)
    cfg.val_dataloader.dataset.pipeline[0].imdecode_backend = 'cv2'
    cfg.tta_pipeline = [[dict(type='mmseg.LoadImageFromFile')]]
    set_bad_image_policy(cfg, 'stop')
    assert cfg.train_dataloader.dataset.dataset.pipeline[0].type == 'mmpretrain.LoadPicture'
    assert cfg.val_dataloader.dataset.dataset.pipeline[0].type == 'LoadImageFromFile'
    assert cfg.val_dataloader.dataset.dataset.pipeline[0].imdecode_backend == 'cv2'
    assert cfg.tta_pipeline[0][0].type == 'mmpretrain.LoadPicture'
    assert cfg.train_dataloader.dataset.dataset.pipeline[1].type == 'PackInputs'


@pytest.mark.parametrize(
    'config', ['configs/cosub/vit-b_in1k.py', 'configs/ade20k/upernet_vit-b_512.py']
)
def test_real_configs_name_their_missing_data(config, tmp_path, monkeypatch):
    cfg = load_config(config)
    monkeypatch.chdir(tmp_path)
    set_bad_image_policy(cfg, 'stop')
    with pytest.raises(FileNotFoundError, match='no data root'):
        check_data(cfg)


def test_no_draft_for_segmentation(scenes):
    cfg = _segmentation(scenes)
    cfg.default_scope = 'mmseg'
    cfg.train_dataloader.dataset.pipeline = [dict(type='LoadImageFromFile', draft=256)]
    with pytest.raises(ValueError, match='draft=256 .*smaller than their masks'):
        set_bad_image_policy(cfg, 'skip')
