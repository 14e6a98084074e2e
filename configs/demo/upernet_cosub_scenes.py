# Beyond the paper: UperNet is co-trained too, from the backbone of upernet_scenes.py.
_base_ = ['upernet_scenes.py']

model = dict(type='CosubSegmentor', lam=0.5)
