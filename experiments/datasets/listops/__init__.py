"""ListOps, nested operations on lists of digits (Nangia and Bowman 2018)."""
