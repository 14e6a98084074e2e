"""Data and stages of ``make demo``."""
