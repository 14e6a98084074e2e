# ZeRO-1: as ddp.py, but each GPU keeps the optimizer's states of its share of the parameters.
# Whole parameters have one owner, so that LAMB's trust ratios stay what they are; its clipping goes
# by the norm of all gradients. docs/many_gpus.md says which file when.
model_wrapper_cfg = dict(
    type='MMDistributedDataParallel',
    broadcast_buffers=False,
    gradient_as_bucket_view=True,
)
shard_optimizer = True
