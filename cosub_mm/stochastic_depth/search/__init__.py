"""Blocks that the table does not name: watched, found, proven."""
