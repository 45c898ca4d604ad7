"""Words and how they are pronounced: what is made of a trained model, and how it is judged."""

import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from rapidfuzz import process
from rapidfuzz.distance import Levenshtein

from seqjax import data, decoding
from seqjax.data import BOS, EOS, PAD, UNK
from seqjax.models.seq2seq import Seq2Seq
from seqjax.teacher_forcing import teacher_forcing

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BEAMS = (1, 5, 10)


class Pronouncer(NamedTuple):
    """A model and what it takes to use it."""

    model: Seq2Seq
    letters: data.SymbolVocabulary
    phonemes: data.SymbolVocabulary
    max_letters: int  # of the training words, by which batches are padded where no bucket says more
    max_phonemes: int


class Lexicon(NamedTuple):
    """Words, each with all its pronunciations."""

    words: list[str]
    pronunciations: list[list[list[str]]]


def make_step(model: Seq2Seq) -> Callable:
    """Makes the function by which a search knows the model."""

    def step(params: Any, context: Any, state: Any, token: jax.Array) -> tuple[jax.Array, Any]:
        logits, state = model.apply(params, context, state, token, method="step")
        return logits.at[jnp.array([PAD, BOS, UNK])].set(-jnp.inf), state  # what is no phoneme

    return step


def make_decode(pronouncer: Pronouncer) -> Callable[..., decoding.Decoded]:
    """Makes the function `(params, sources, lengths, beam_size=, n_best=) -> decoded`."""
    encode = jax.jit(partial(pronouncer.model.apply, method="encode"))
    step = make_step(pronouncer.model)

    def decode(params: Any, sources: np.ndarray, lengths: np.ndarray, *, beam_size: int, n_best: int = 1) -> Any:
        context, state = encode(params, sources, lengths)
        options = {"bos": BOS, "eos": EOS, "max_length": pronouncer.max_phonemes + 1}
        if beam_size == 1:
            return decoding.greedy_search(step, params, context, state, **options)
        return decoding.beam_search(step, params, context, state, beam_size=beam_size, n_best=n_best, **options)

    return decode


def group(pairs: Iterable[tuple[str, str]]) -> Lexicon:
    """Puts all pronunciations of a word together."""
    entries: dict[str, list[list[str]]] = {}
    for word, pronunciation in pairs:
        entries.setdefault(word, []).append(pronunciation.split())
    return Lexicon(list(entries), list(entries.values()))


def error_rates(found: Sequence[Sequence[str]], pronunciations: Sequence[Sequence[Sequence[str]]]) -> dict[str, float]:
    """Gives the share of words that are wrong, and of phonemes, both in percent, against the nearest pronunciation."""
    distances, lengths = zip(
        *(
            min((Levenshtein.distance(answer, right), len(right)) for right in entry)
            for answer, entry in zip(found, pronunciations, strict=True)
        ),
        strict=True,
    )
    return {
        "word error rate": 100 * np.count_nonzero(distances) / len(distances),
        "phoneme error rate": 100 * sum(distances) / sum(lengths),
    }


def nearest_spelling(train: Iterable[tuple[str, Sequence[str]]], words: Sequence[str]) -> list[Sequence[str]]:
    """Pronounces each word as the training word that is spelled most like it: the baseline that anything must beat."""
    known = dict(train)
    spellings = list(known)
    found = []
    for start in range(0, len(words), 256):
        distances = process.cdist(words[start : start + 256], spellings, scorer=Levenshtein.distance, dtype=np.uint8)
        found += [known[spellings[place]] for place in distances.argmin(axis=1)]
    return found


class Answer(NamedTuple):
    """A pronunciation and its log-probability."""

    phonemes: list[str]
    log_prob: float


def word_batches(pronouncer: Pronouncer, words: Sequence[str]) -> list[tuple[np.ndarray, data.PairBatch]]:
    """Puts words into batches of a few shapes, beside their places."""
    sources = [pronouncer.letters.encode(word, allow_unknown=True) for word in words]
    lengths = [len(source) for source in sources]
    buckets = data.make_buckets(lengths, lengths, num_buckets=4, batch_size=min(256, len(words)))
    return list(data.evaluation_pair_batches(sources, sources, buckets))


def pronounce(
    pronouncer: Pronouncer, decode: Callable, params: Any, batches: Sequence, *, beam_size: int, n_best: int = 1
) -> list[list[Answer]]:
    """Gives the `n_best` pronunciations of the words of all batches, each in its place."""
    answers = {}
    for places, batch in batches:
        found = decode(params, batch.sources, batch.source_lengths, beam_size=beam_size, n_best=n_best)
        found = jax.tree.map(np.asarray, found)
        for row, place in enumerate(places):
            answers[place] = [
                Answer(pronouncer.phonemes.decode(found.tokens[row, n]), float(found.log_probs[row, n]))
                for n in range(found.tokens.shape[1])
                if found.lengths[row, n]
            ]
    return [answers[place] for place in sorted(answers)]


def test_scores(pronouncer: Pronouncer, decode: Callable, params: Any, lexicon: Lexicon) -> dict[str, float]:
    """Gives the error rates for each width of the beam, and prints how fast it decodes."""
    batches = word_batches(pronouncer, lexicon.words)
    shapes = {batch.sources.shape: (places, batch) for places, batch in batches}
    scores = {}
    for beam_size in BEAMS:
        pronounce(pronouncer, decode, params, list(shapes.values()), beam_size=beam_size)  # compiles
        start = time.perf_counter()
        answers = pronounce(pronouncer, decode, params, batches, beam_size=beam_size)
        speed = len(lexicon.words) / (time.perf_counter() - start)
        rates = error_rates([best.phonemes for best, *_ in answers], lexicon.pronunciations)
        print(f"Beam {beam_size}: {speed:,.0f} words a second, {len(shapes)} shapes compiled")
        scores |= {f"% {name}, beam {beam_size}": rate for name, rate in rates.items()}
    return scores


def attention_figure(
    pronouncer: Pronouncer, params: Any, words: Sequence[str], answers: Sequence[Sequence[str]]
) -> "Figure":
    """Draws which letters the decoder looked at for each phoneme of its answers."""
    from seqjax.plots import AttentionMap, attention_maps

    sources = [pronouncer.letters.encode(word, allow_unknown=True) for word in words]
    targets = [pronouncer.phonemes.encode(answer) for answer in answers]
    shape = data.Bucket(max(map(len, sources)), pronouncer.max_phonemes + 1, len(words), np.arange(len(words)))
    [(_, pairs)] = data.evaluation_pair_batches(sources, targets, (shape,))
    weights = _attention_weights(pronouncer.model, params, pairs)
    return attention_maps(
        [
            AttentionMap(np.asarray(row[: len(answer) + 1, : len(word)]), list(word), [*answer, "end"])
            for row, word, answer in zip(weights, words, answers, strict=True)
        ],
        xlabel="letter",
        ylabel="phoneme",
    )


@partial(jax.jit, static_argnums=0)
def _attention_weights(model: Seq2Seq, params: Any, pairs: data.PairBatch) -> jax.Array:
    forced = teacher_forcing(pairs.targets, pairs.target_lengths, bos=BOS, eos=EOS)
    return model.apply(params, pairs.sources, pairs.source_lengths, forced.inputs)[1]


def describe(word: str, answers: Sequence[Answer]) -> str:
    """Writes a word and its pronunciations, the most probable first."""
    lines = [f"{answer.log_prob:8.2f}  {' '.join(answer.phonemes)}" for answer in answers]
    return "\n".join([word, *lines])
