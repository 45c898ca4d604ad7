"""Debian's package descriptions and their synopses."""
