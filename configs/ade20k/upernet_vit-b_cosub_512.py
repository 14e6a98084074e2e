# Beyond the paper: UperNet itself is co-trained, from the same weights as Table 13's ViT-B.
_base_ = ['./upernet_vit-b_512.py']
# Two submodels an image; the rate .2 of the backbone applies to every block.
model = dict(type='CosubSegmentor', num_submodels=2, lam=0.5)
