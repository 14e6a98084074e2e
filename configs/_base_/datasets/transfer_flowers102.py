# Flowers-102 at 224: trained on train and val, as is usual.
# Layout: data/flowers102/{jpg,imagelabels.mat,setid.mat}
_base_ = ['./transfer_cars.py']
data_root = 'data/flowers102'
data_preprocessor = dict(num_classes=102)
train_dataloader = dict(dataset=dict(type='CheckedFlowers102', data_root=data_root, split='trainval'))
val_dataloader = dict(dataset=dict(type='CheckedFlowers102', data_root=data_root))
test_dataloader = val_dataloader
