"""Python's own standard library, as pairs."""
