"""Which rows a branch sees, how they leave and rejoin the stream; schedules; the rule."""
