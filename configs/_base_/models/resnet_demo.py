# The demo's backbone, .7 M parameters: ResNet-18 of half its width without its fourth stage. Strides
# of 4, 8 and 8 leave 16 x 16 features of a scene. No table of the paper: all values are ours.
resnet = dict(
    depth=18,
    num_stages=3,
    strides=(1, 2, 1),
    dilations=(1, 1, 2),
    stem_channels=32,
    base_channels=32,
)
