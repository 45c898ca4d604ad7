"""The beam search of `decode` in torch, with hand-written batching of the hypotheses."""

import torch

from benchmarks import decode_model, peer
from benchmarks.decode_model import BOS, Sizes


class Model(torch.nn.Module):
    """The model of `decode_model` for `B` examples with `K` hypotheses each, as `B K` rows."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        params = decode_model.make_params(sizes)
        hidden = sizes.hidden

        def linear(kernel) -> torch.nn.Linear:
            layer = torch.nn.Linear(*kernel.shape, bias=False)
            layer.weight.copy_(torch.from_numpy(kernel.T))
            return layer

        self.embedding = torch.nn.Embedding.from_pretrained(torch.from_numpy(params.embedding))
        self.lstm = torch.nn.LSTMCell(2 * hidden, hidden)
        self.lstm.weight_ih.copy_(torch.from_numpy(params.lstm.input_kernel.T))
        self.lstm.weight_hh.copy_(torch.from_numpy(params.lstm.recurrent_kernel.T))
        self.lstm.bias_ih.copy_(torch.from_numpy(params.lstm.bias))
        self.lstm.bias_hh.zero_()
        self.combination, self.output = linear(params.combination), linear(params.output)

    def forward(self, keys, values, h, c, attentional, token):
        h, c = self.lstm(torch.cat([self.embedding(token), attentional], dim=-1), (h, c))
        of_example = h.view(len(keys), -1, h.shape[-1])  # [B, K, H]
        weights = torch.softmax(of_example @ keys.transpose(1, 2), dim=-1)
        attentional = torch.tanh(self.combination(torch.cat([(weights @ values).flatten(0, 1), h], dim=-1)))
        return self.output(attentional), h, c, attentional


def beam_search(model, keys, values, state, beam: int, length: int) -> torch.Tensor:
    batch = len(keys)
    first_row = beam * torch.arange(batch)[:, None]
    token = torch.full((batch * beam,), BOS)
    tokens = torch.zeros(batch * beam, 0, dtype=torch.long)
    scores = torch.full((batch, beam), -torch.inf)
    scores[:, 0] = 0.0
    for _ in range(length):
        logits, *state = model(keys, values, *state, token)
        candidates = scores[..., None] + torch.log_softmax(logits, dim=-1).view(batch, beam, -1)
        scores, place = candidates.flatten(1).topk(beam)
        parent = (first_row + place // logits.shape[-1]).flatten()
        token = (place % logits.shape[-1]).flatten()
        state = [leaf.index_select(0, parent) for leaf in state]
        tokens = torch.cat([tokens.index_select(0, parent), token[:, None]], dim=1)
    return tokens.view(batch, beam, length)[:, 0]


@torch.no_grad()
def prepare(*, sizes: dict[str, int], batch: int, beam: int):
    sizes = Sizes(**sizes)
    model = Model(sizes)
    keys, values = map(torch.from_numpy, decode_model.make_context(sizes, batch))
    state = [torch.zeros(batch * beam, sizes.hidden) for _ in range(3)]

    @torch.no_grad()
    def run() -> list:
        return beam_search(model, keys, values, state, beam, sizes.target).tolist()

    return run


if __name__ == "__main__":
    peer.serve({"torch": torch.__version__}, prepare)
