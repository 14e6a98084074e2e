"""What the stochastic depth tools share: references, measurements, tables and plots."""
