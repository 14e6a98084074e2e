# FSDP2: each GPU keeps its rows of every parameter, gradient and optimizer state, and puts the model
# together part by part. docs/many_gpus.md says which file when.
model_wrapper_cfg = dict(
    type='mmengine.CosubFSDP2',
    # A list of modules stands for each of them: the blocks of CosubViT here. Others: 'backbone.stages'
    # (Swin, ConvNeXt), 'backbone.blocks' (XCiT), 'backbone.timm_model.blocks' (timm).
    modules=['backbone.layers'],
    # False sends less and keeps all of the model from forward to backward.
    reshard_after_forward=True,
)
