# iNaturalist-2019 at 224. Layout: data/inat2019/{train_val2019,train2019.json,val2019.json}
_base_ = ['./transfer_inat18.py']
data_root = 'data/inat2019'
data_preprocessor = dict(num_classes=1010)
train_dataloader = dict(dataset=dict(type='INaturalist2019', data_root=data_root))
val_dataloader = dict(dataset=dict(type='INaturalist2019', data_root=data_root))
test_dataloader = val_dataloader
