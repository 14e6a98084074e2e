"""What makes a step smaller; may be deleted without changing a value."""
