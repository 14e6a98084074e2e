# iNaturalist-2018 at 224. Layout: data/inat2018/{train_val2018,train2018.json,val2018.json}
_base_ = './transfer.py'

data_preprocessor = dict(num_classes=8142)
train_pipeline = _base_.train_pipeline
# Noise of the images' own mean and deviation on up to a third of the picture, as in timm.
train_pipeline.insert(
    -1,
    dict(
        type='RandomErasing',
        erase_prob=0.1,
        max_area_ratio=1 / 3,
        mode='rand',
        fill_color=[103.53, 116.28, 123.675],
        fill_std=[57.375, 57.12, 58.395],
    ),
)
data_root = 'data/inat2018'
train_dataloader = dict(
    dataset=dict(
        type='INaturalist2018', data_root=data_root, split='train', pipeline=train_pipeline
    )
)
val_dataloader = dict(dataset=dict(type='INaturalist2018', data_root=data_root, split='val'))
test_dataloader = val_dataloader
