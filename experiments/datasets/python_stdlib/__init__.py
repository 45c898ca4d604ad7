"""Pairs from Python's standard library."""
