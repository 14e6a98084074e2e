"""Classes registered in mmpretrain's ``MODELS``. Segmentors live in mmseg's registry, apart."""
