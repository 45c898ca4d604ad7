"""Sentences of Debian's package descriptions in English and French."""
