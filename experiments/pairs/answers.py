"""Decodes with a trained model, scores its answers, and draws its attention weights."""

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments.pairs.kind import Kind, Questions
from experiments.pairs.symbols import Symbols
from seqjax import data, decoding
from seqjax.data import BOS, EOS, PAD, UNK
from seqjax.models.seq2seq import Seq2Seq
from seqjax.training.teacher_forcing import teacher_forcing

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Answerer(NamedTuple):
    """A model and everything needed to decode with it."""

    model: Seq2Seq
    kind: Kind
    source: Symbols
    target: Symbols
    max_source: int  # length of the longest training source, in symbols
    max_target: int


def make_step(model: Seq2Seq) -> Callable:
    """Builds the step function that the searches in `seqjax.decoding` call."""

    def step(params: Any, context: Any, state: Any, token: jax.Array) -> tuple[jax.Array, Any]:
        logits, state = model.apply(params, context, state, token, method="step")
        return logits.at[jnp.array([PAD, BOS, UNK])].set(-jnp.inf), state  # never part of a target

    return step


def make_decode(answerer: Answerer) -> Callable[..., decoding.Decoded]:
    """Builds the function `(params, sources, lengths, beam_size=, n_best=) -> decoded`."""
    encode = jax.jit(partial(answerer.model.apply, method="encode"))
    step = make_step(answerer.model)

    def decode(params: Any, sources: np.ndarray, lengths: np.ndarray, *, beam_size: int, n_best: int = 1) -> Any:
        context, state = encode(params, sources, lengths)
        options = {"bos": BOS, "eos": EOS, "max_length": answerer.max_target + 1}
        if beam_size == 1:
            return decoding.greedy_search(step, params, context, state, **options)
        options |= {"beam_size": beam_size, "n_best": n_best, "length_penalty": answerer.kind.length_penalty}
        return decoding.beam_search(step, params, context, state, **options)

    return decode


class Answer(NamedTuple):
    """A target and its log-probability."""

    text: str
    log_prob: float


def source_batches(answerer: Answerer, texts: Sequence[str]) -> list[tuple[np.ndarray, data.PairBatch]]:
    """Groups sources into batches of a few shapes; each batch comes with the indices of its sources in `texts`."""
    sources = [answerer.source.encode(text) for text in texts]
    lengths = [len(source) for source in sources]
    buckets = data.make_buckets(lengths, lengths, num_buckets=4, batch_size=min(256, len(texts)))
    return list(data.evaluation_pair_batches(sources, sources, buckets))


def answer(
    answerer: Answerer, decode: Callable, params: Any, batches: Sequence, *, beam_size: int, n_best: int = 1
) -> list[list[Answer]]:
    """Returns the `n_best` answers to each source of all batches, in the original order of the sources."""
    answers = {}
    for places, batch in batches:
        found = decode(params, batch.sources, batch.source_lengths, beam_size=beam_size, n_best=n_best)
        found = jax.tree.map(np.asarray, found)
        for row, place in enumerate(places):
            answers[place] = [
                Answer(answerer.target.decode(found.tokens[row, n]), float(found.log_probs[row, n]))
                for n in range(found.tokens.shape[1])
                if found.lengths[row, n]
            ]
    return [answers[place] for place in sorted(answers)]


def test_scores(answerer: Answerer, decode: Callable, params: Any, questions: Questions) -> dict[str, float]:
    """Returns the scores for each beam size, and prints the decoding speed."""
    batches = source_batches(answerer, questions.sources)
    shapes = {batch.sources.shape: (places, batch) for places, batch in batches}
    scores = {}
    for beam_size in answerer.kind.beams:
        answer(answerer, decode, params, list(shapes.values()), beam_size=beam_size)  # compiles every shape
        start = time.perf_counter()
        answers = answer(answerer, decode, params, batches, beam_size=beam_size)
        speed = len(questions.sources) / (time.perf_counter() - start)
        found = answerer.kind.scores([best.text for best, *_ in answers], questions.targets)
        print(f"Beam {beam_size}: {speed:,.0f} {answerer.kind.unit}s per second, {len(shapes)} shapes compiled")
        scores |= {f"{name}, beam {beam_size}": value for name, value in found.items()}
    return scores


def attention_figure(answerer: Answerer, params: Any, texts: Sequence[str], answers: Sequence[str]) -> "Figure":
    """Draws the attention weights over the source for each symbol of the answers."""
    from seqjax.plots import AttentionMap, attention_maps

    sources = [answerer.source.encode(text) for text in texts]
    targets = [answerer.target.encode(text) for text in answers]
    target_length = max(answerer.max_target, *map(len, targets)) + 1  # constant for most answers
    shape = data.Bucket(max(map(len, sources)), target_length, len(texts), np.arange(len(texts)))
    [(_, pairs)] = data.evaluation_pair_batches(sources, targets, (shape,))
    weights = _attention_weights(answerer.model, params, pairs)
    labels = zip(map(answerer.source.pieces, texts), map(answerer.target.pieces, answers), strict=True)
    return attention_maps(
        [
            AttentionMap(np.asarray(row[: len(target) + 1, : len(source)]), source, [*target, "end"])
            for row, (source, target) in zip(weights, labels, strict=True)
        ],
        xlabel=answerer.kind.source,
        ylabel=answerer.kind.target,
    )


@partial(jax.jit, static_argnums=0)
def _attention_weights(model: Seq2Seq, params: Any, pairs: data.PairBatch) -> jax.Array:
    forced = teacher_forcing(pairs.targets, pairs.target_lengths, bos=BOS, eos=EOS)
    return model.apply(params, pairs.sources, pairs.source_lengths, forced.inputs)[1]


def describe(source: str, answers: Sequence[Answer]) -> str:
    """Formats a source and its answers with their log-probabilities, one per line."""
    lines = [f"{answer.log_prob:8.2f}  {answer.text}" for answer in answers]
    return "\n".join([source, *lines])
