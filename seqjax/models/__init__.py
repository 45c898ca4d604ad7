"""Models, one file for each shape of sequence problem."""
