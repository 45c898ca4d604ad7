"""The CMU Pronouncing Dictionary of American English (Carnegie Mellon University, 1993 to 2015)."""
