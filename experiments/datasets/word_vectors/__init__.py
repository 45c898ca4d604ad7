"""Vectors of English words (Pennington, Socher and Manning 2014)."""
