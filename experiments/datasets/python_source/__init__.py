"""The text of Python's standard library."""
