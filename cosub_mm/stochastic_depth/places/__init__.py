"""THE table of blocks; where branches end, putting ends there and taking them away."""
