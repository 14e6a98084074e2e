# Stanford Cars at 224. Layout: data/stanford_cars/{cars_train,cars_test,devkit}
_base_ = './transfer.py'

data_preprocessor = dict(num_classes=196)
data_root = 'data/stanford_cars'
train_dataloader = dict(
    dataset=dict(type='CheckedStanfordCars', data_root=data_root, split='train')
)
val_dataloader = dict(dataset=dict(type='CheckedStanfordCars', data_root=data_root, split='test'))
test_dataloader = val_dataloader
