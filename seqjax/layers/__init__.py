"""What models are built from: Flax modules that own the parameters of cells, attention, a conditional random field."""
