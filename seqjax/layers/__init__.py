"""Building blocks of models: Flax modules that own the parameters of cells, attention, conditional random fields."""
