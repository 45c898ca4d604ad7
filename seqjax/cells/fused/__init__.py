"""Whole sequences of an LSTM, a GRU and a simple RNN, with the results of a scan and gradients written by hand.

These choices make them faster than a scan:

- The backward loop reads transposed weights that are computed once before it.
- The backward loop only carries gradients from step to step. The gradients of weights and inputs follow after it, each
  as one product over all steps and rows. XLA can split these products along the batch for several devices, and removes
  the one for the inputs if nothing reads its result.
- The products with the inputs are computed in the loop, so that they are never stored as an array, except for a batch
  of one row.
- In a large product, the weights are the left factor, transposed once before the loop. In a small step, the operations
  run in order. The gradient of the inputs of a wide layer is a convolution. All three are in `cpu.py`.
- No inputs or outputs are transposed: each step is sliced from arrays [B, T, features] and written into such arrays. A
  scan over them would need time as the first axis.

To save memory, the gradient reads the outputs, not a second copy of them, and the LSTM's recomputes `tanh(c')`.

A hand-written gradient supports reverse mode and gradients of gradients, but not forward mode. For `jax.jvp`, scan the
step: use the cell `cell._replace(sequence=None)`.
"""
