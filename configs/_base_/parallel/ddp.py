# Data parallel: every GPU holds the whole model, its gradients and the optimizer's states. What a
# recipe does without any of these files; here gradients also share their memory with the buffers
# that are sent. docs/many_gpus.md says which file when.
model_wrapper_cfg = dict(
    type='MMDistributedDataParallel',
    broadcast_buffers=False,
    gradient_as_bucket_view=True,
)
