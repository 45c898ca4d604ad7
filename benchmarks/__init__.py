"""Timings of seqjax beside its peers, one file per question; see the first lines of each."""
