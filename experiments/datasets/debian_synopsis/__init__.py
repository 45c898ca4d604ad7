"""Debian's package descriptions and the synopses that stand above them."""
