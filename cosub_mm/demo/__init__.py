"""Data, stages and pictures of ``make demo``."""
