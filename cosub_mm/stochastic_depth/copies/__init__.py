"""Copying the batch late, for co-training."""
