# Fine-tuning at 224 after ImageNet-1k at another size: DeiT III's loss (Table 8).
# The paper does not say whether cosub is on in these epochs (ours: on).
# Other weights: --cfg-options load_from=PATH
# A variable, since no two bases may set `model`: `model = _base_.pop('ft_224')` takes it over.
ft_224 = dict(loss='ce', label_smoothing=0.1)
