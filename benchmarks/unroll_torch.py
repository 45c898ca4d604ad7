"""The layers of `unroll` in torch, on all cores."""

import os
from collections.abc import Callable
from typing import Any

import torch
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from benchmarks import peer, unroll_work
from benchmarks.unroll_work import Sizes

CELLS = {"lstm": torch.nn.LSTM, "gru_reset_after": torch.nn.GRU, "simple_rnn": torch.nn.RNN}


def layer(cell: str, sizes: Sizes) -> tuple[torch.nn.Module, Callable]:
    rnn = CELLS[cell](sizes.inputs, sizes.hidden, batch_first=True)
    return rnn, lambda xs: rnn(xs)[0]


def random_lengths(cell: str, sizes: Sizes) -> tuple[torch.nn.Module, Callable]:
    rnn = CELLS[cell](sizes.inputs, sizes.hidden, num_layers=unroll_work.LAYERS, bidirectional=True, batch_first=True)
    lengths = torch.from_numpy(unroll_work.random_lengths(sizes))

    def apply(xs: torch.Tensor) -> torch.Tensor:
        packed = pack_padded_sequence(xs, lengths, batch_first=True, enforce_sorted=False)
        return pad_packed_sequence(rnn(packed)[0], batch_first=True, total_length=sizes.steps)[0]

    return rnn, apply


def work(*, what: str, cell: str, sizes: Sizes, gradient: bool) -> Callable[[], tuple[torch.Tensor, ...]]:
    """Returns the function to time; `gradient` adds the gradients of inputs and parameters to its outputs."""
    rnn, apply = {"torch": layer, "torch_random_lengths": random_lengths}[what](cell, sizes)
    rnn.train(gradient)  # in evaluation mode, oneDNN keeps nothing for a gradient
    xs = torch.from_numpy(unroll_work.normal(0, (sizes.batch, sizes.steps, sizes.inputs)))
    if not gradient:
        return torch.no_grad()(lambda: (apply(xs),))
    xs = xs.clone().requires_grad_()
    directions = 2 if rnn.bidirectional else 1
    cotangents = torch.from_numpy(unroll_work.normal(1, (sizes.batch, sizes.steps, directions * sizes.hidden)))

    def with_gradient() -> tuple[torch.Tensor, ...]:
        ys = apply(xs)
        return ys, *torch.autograd.grad(ys, [xs, *rnn.parameters()], cotangents)

    return with_gradient


def prepare(*, what: str, cell: str, sizes: dict[str, int], gradient: bool) -> Callable[[], dict[str, Any]]:
    function = work(what=what, cell=cell, sizes=Sizes(**sizes), gradient=gradient)
    return lambda: {"shape": list(function()[0].shape)}


if __name__ == "__main__":
    torch.set_num_threads(os.cpu_count())
    peer.serve({"torch": torch.__version__}, prepare)
