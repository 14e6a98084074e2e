"""Measuring models, data and costs: what the commands below tools/analysis_tools print."""
