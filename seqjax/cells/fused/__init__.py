"""Whole sequences of an LSTM, a GRU and a simple RNN: what the scan of their step gives, gradients written by hand.

What makes them faster:

- Transposed weights are formed before the backward loop, not in it.
- The backward loop only carries gradients from step to step. The gradients of weights and inputs follow after it, each
  as one product over all steps and rows, which XLA can cut along the batch for several devices; the one of the inputs
  vanishes where nobody asks for it.
- The products of the inputs are formed in the loop, so that no array of them is written, but for a batch of one row.
- Where a step's product is large, its weights stand left, turned once before the loop. Where a step is small, its
  operations run in order. The gradient of the inputs of a wide layer is a convolution (all three in `cpu.py`).
- No array of steps is turned: each step is cut out of arrays [B, T, features], and put into such. A scan, which wants
  the time first, took 1.0 to 1.3 of the time forward, 0.95 to 1.2 with gradient, and up to 1.25 of the memory.

What was tried and makes nothing faster, on two cores: to gather rows of the input weights where inputs are one-hot
(1.27 times the time forward, the same with gradient, 84 symbols and 256 units), to run both directions in one loop
(1.05 to 1.34 forward, the same with gradient), to keep `h` once for output and gradient and to compute `tanh c` again
(both are done, for the memory), to form several steps at once (1.0 to 1.3), to compile the elements of a step to one
kernel and to keep in order also what a small step keeps for the gradient (0.95 to 1.2, but 0.7 for a simple RNN of 8
rows and 64 units), to form the products of the inputs for 4 to 25 steps at once (forward 1.03 to 1.75, with gradient
0.92 to 1.02), to keep the gates in one array (0.97 to 1.17), to add the gradients of weights up in parts (1.15 to 1.7),
to form the product of a single row in two halves, each on a core (with gradient 0.8 where the cores share a cache, 1.2
where they do not, 2 forward for such rows under `vmap`). To let features stand first and the batch last in the whole of
a layer took 0.9 to 1.4 of the time of a scan with gradient, and 0.86 to 1.5 forward, the least at 512 units.

A gradient written by hand serves reverse mode, and gradients of gradients, but not forward mode: for `jax.jvp`, scan
the step, as the cell `cell._replace(sequence=None)` does.
"""
