# Flowers-102 at 224: trained on train and val, as is usual.
# Layout: data/flowers102/{jpg,imagelabels.mat,setid.mat}
_base_ = './transfer.py'

data_preprocessor = dict(num_classes=102)
data_root = 'data/flowers102'
train_dataloader = dict(
    dataset=dict(type='CheckedFlowers102', data_root=data_root, split='trainval')
)
val_dataloader = dict(dataset=dict(type='CheckedFlowers102', data_root=data_root, split='test'))
test_dataloader = val_dataloader
