"""ImageNet-21k: its preparation, its index and the data set, from folders or tar shards."""
