"""The training step of `train_step` in torch, on all cores."""

import os
from collections.abc import Callable

import torch

from benchmarks import peer
from benchmarks.train_step_work import LEARNING_RATE, MAX_GRAD_NORM, Sizes, characters


class Model(torch.nn.Module):
    def __init__(self, sizes: Sizes):
        super().__init__()
        self.vocabulary = sizes.vocabulary
        self.rnn = torch.nn.LSTM(sizes.vocabulary, sizes.hidden, batch_first=True)
        self.output = torch.nn.Linear(sizes.hidden, sizes.vocabulary)

    def forward(self, tokens: torch.Tensor, carry: tuple | None) -> tuple[torch.Tensor, tuple]:
        ys, carry = self.rnn(torch.nn.functional.one_hot(tokens, self.vocabulary).float(), carry)
        return self.output(ys), carry


def prepare(*, what: str, sizes: dict[str, int]) -> Callable[[], float]:
    """Returns the function to time: a training step that returns its loss."""
    del what  # there is only one
    sizes = Sizes(**sizes)
    torch.manual_seed(0)
    model = Model(sizes)
    inputs, targets = (torch.from_numpy(each.copy()).long() for each in characters(sizes))
    optimizer = torch.optim.Adam(model.parameters(), LEARNING_RATE)
    carry = None

    def run() -> float:
        nonlocal carry
        logits, (h, c) = model(inputs, carry)
        carry = h.detach(), c.detach()
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten())
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), MAX_GRAD_NORM)
        optimizer.step()
        return loss.item()

    return run


if __name__ == "__main__":
    torch.set_num_threads(os.cpu_count())
    peer.serve({"torch": torch.__version__}, prepare)
