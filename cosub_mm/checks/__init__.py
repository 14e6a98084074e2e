"""What must be right before a run."""
