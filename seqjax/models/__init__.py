"""Models, one file for each kind of sequence problem."""
