"""Timings of seqjax and comparable libraries, one program per question; see the docstring of each program."""
