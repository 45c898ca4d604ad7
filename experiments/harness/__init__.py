"""What every script shares: settings and flags, errors, signals, the run folder, the training loop; no task."""
