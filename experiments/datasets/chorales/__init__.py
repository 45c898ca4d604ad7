"""Four-part chorales of J. S. Bach."""
