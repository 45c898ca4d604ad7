"""Windows of primate DNA around splice junctions (Towell, Noordewier and Shavlik 1991)."""
