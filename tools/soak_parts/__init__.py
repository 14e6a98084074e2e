"""Parts of tools/soak.py: what is trained, what is done to it, and what is said of it."""
