"""The arguments, the config and the run of tools/train.py and tools/test.py."""
