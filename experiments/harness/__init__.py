"""What scripts share, whatever their task: settings and flags, errors, signals, the run folder, the training loop."""
