"""A comparison of training strategies that a sceptic accepts: docs/study.md."""
