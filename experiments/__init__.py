"""Experiments: one script per shape of problem."""
