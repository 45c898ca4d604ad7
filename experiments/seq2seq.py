"""One sequence to another: from spelling to pronunciation, letter by letter and phoneme by phoneme.

    python -m experiments.seq2seq

trains an encoder and a decoder with attention on the CMU pronouncing dictionary. After each epoch it pronounces some
words that it has not seen, and draws where it looked; at the end it gives the error rates on the test words for each
width of the beam, beside those of Phonetisaurus. Other pairs: `--dataset=NAME` of any TFDS set with a source and a
target. From a run that is finished, `--decode_only --run_folder=FOLDER` decodes the test words again, and
`--interactive --run_folder=FOLDER` answers the words that are typed in.
"""

import sys
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags

import seqjax
from experiments import datasets, joint_ngrams, recipe, run
from experiments.pronunciation import (
    Pronouncer,
    attention_figure,
    describe,
    error_rates,
    group,
    make_decode,
    make_step,
    nearest_spelling,
    pronounce,
    test_scores,
    word_batches,
)
from seqjax import attention, checkpoint, data, decoding
from seqjax.cells import CELLS
from seqjax.data import BOS, EOS
from seqjax.expected_risk import edit_distance, expected_risk, first_of_equal
from seqjax.linen import Recurrent
from seqjax.losses import mean_nll, token_nll
from seqjax.models.seq2seq import Seq2Seq
from seqjax.teacher_forcing import inverse_sigmoid_decay, teacher_forcing
from seqjax.training import LossFn, make_eval_step

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def define_flags() -> None:
    """Defines the flags, of which `main` alone knows."""
    flags.DEFINE_string("dataset", "cmudict", "A TFDS set of pairs: cmudict, or any that TFDS knows.")
    flags.DEFINE_string("source", "source", "The feature of the data set that is read.")
    flags.DEFINE_string("target", "target", "The feature that is to be made of it: symbols with spaces between them.")
    recipe.define_flags(hidden_size=256, batch_size=128, epochs=3, learning_rate=4e-3, warmup_steps=200)
    flags.DEFINE_integer("embedding_size", 128, "Size of an embedded symbol.")
    flags.DEFINE_enum(
        "attention", "general", ["additive", "dot", "general", "none"], "How the decoder looks at the source."
    )
    flags.DEFINE_bool("input_feeding", False, "Feed what was attended to into the next step.")
    flags.DEFINE_integer("buckets", 5, "The most shapes of batches; pairs of similar lengths share one.")
    flags.DEFINE_float("label_smoothing", 0.0, "Probability that all symbols share.")
    flags.DEFINE_float("scheduled_sampling", None, "k: half of what the decoder reads is its own after k log k steps.")
    flags.DEFINE_integer("risk_samples", None, "Minimise the expected edit distance among so many samples instead.")
    flags.DEFINE_string("start_from", None, "The run folder whose parameters to start from.")
    flags.DEFINE_bool("joint_ngrams", False, "Also report the test score of joint n-grams, some minutes of work.")
    flags.DEFINE_bool(
        "decode_only", False, "Decode the test part with the newest checkpoint of --run_folder, nothing else."
    )
    flags.DEFINE_bool("interactive", False, "Answer what is typed in with the newest checkpoint of --run_folder.")
    flags.DEFINE_integer("n_best", 3, "How many answers to show.")


class Settings(NamedTuple):
    """The flags that make a run what it is; its checkpoints keep them."""

    dataset: str
    source: str
    target: str
    cell: str
    hidden_size: int
    layers: int
    embedding_size: int
    attention: str
    input_feeding: bool
    batch_size: int
    buckets: int
    epochs: float
    learning_rate: float
    warmup_steps: int
    weight_decay: float
    weight_drop: float
    dropout: float
    label_smoothing: float
    scheduled_sampling: float | None
    risk_samples: int | None
    start_from: str | None
    max_grad_norm: float
    seed: int


class Training(NamedTuple):
    """A batch, and how much of it the decoder reads from its own output."""

    pairs: data.PairBatch
    sampling_rate: np.ndarray | None


def make_model(settings: Settings, source_size: int, target_size: int) -> Seq2Seq:
    """Makes the model that the settings describe."""
    attentions = {
        "additive": lambda: attention.additive(settings.hidden_size // 2),
        "dot": attention.dot,
        "general": attention.general,
        "none": lambda: None,
    }
    cell = CELLS[settings.cell]
    layers = {
        "layers": settings.layers,
        "dropout_rate": settings.dropout,
        "regularize": partial(seqjax.weight_drop, rate=settings.weight_drop) if settings.weight_drop else None,
    }
    return Seq2Seq(
        source_size,
        target_size,
        encoder=Recurrent(cell(settings.hidden_size // 2), bidirectional=True, **layers),
        decoder=Recurrent(cell(settings.hidden_size), **layers),
        embedding_size=settings.embedding_size,
        attention=attentions[settings.attention](),
        input_feeding=settings.input_feeding,
        dropout_rate=settings.dropout,
    )


def make_likelihood_loss(model: Seq2Seq, label_smoothing: float) -> LossFn:
    """Makes the mean negative log-likelihood of a batch's phonemes."""

    def loss_fn(params: Any, carry: tuple[()], batch: Training, key: jax.Array | None) -> Any:
        pairs, random = batch.pairs, {}
        if key is not None:
            rngs = {"dropout": jax.random.fold_in(key, 0), "sampling": jax.random.fold_in(key, 1)}
            random = {"sampling_rate": batch.sampling_rate, "deterministic": False, "rngs": rngs}
        forced = teacher_forcing(pairs.targets, pairs.target_lengths, bos=BOS, eos=EOS)
        logits, _ = model.apply(params, pairs.sources, pairs.source_lengths, forced.inputs, **random)
        nll = loss = mean_nll(logits, forced.targets, forced.mask)
        if label_smoothing and key is not None:
            loss = mean_nll(logits, forced.targets, forced.mask, label_smoothing=label_smoothing)
        return loss, (carry, {"nats_per_phoneme": nll, "phonemes": forced.mask.sum()})

    return loss_fn


def make_risk_loss(model: Seq2Seq, step: Callable, num_samples: int, max_length: int) -> LossFn:
    """Makes the errors per phoneme to be expected among samples of the model's own (Shen et al. 2016)."""

    def loss_fn(params: Any, carry: tuple[()], batch: Training, key: jax.Array) -> Any:
        pairs = batch.pairs
        context, state = model.apply(params, pairs.sources, pairs.source_lengths, method="encode")
        fixed = jax.lax.stop_gradient((params, context, state))
        options = {"bos": BOS, "eos": EOS, "max_length": max_length, "num_samples": num_samples}
        found = decoding.sample(key, step, *fixed, **options)
        tokens, lengths = found.tokens.reshape(-1, max_length), found.lengths.reshape(-1)
        sources, source_lengths = (jnp.repeat(leaf, num_samples, axis=0) for leaf in pairs[:2])
        inputs = jnp.pad(tokens[:, :-1], [(0, 0), (1, 0)], constant_values=BOS)
        logits, _ = model.apply(params, sources, source_lengths, inputs)
        nll = token_nll(logits, tokens, jnp.arange(max_length) < lengths[:, None]).sum(axis=-1)

        right = teacher_forcing(pairs.targets, pairs.target_lengths, bos=BOS, eos=EOS)
        distance = jax.vmap(jax.vmap(edit_distance, (0, 0, None, None)))
        errors = distance(found.tokens, found.lengths, right.targets, right.mask.sum(axis=-1))
        risks = errors / jnp.maximum(pairs.target_lengths, 1)[:, None]
        distinct = first_of_equal(found.tokens, found.lengths)
        expected = expected_risk(-nll.reshape(risks.shape), risks, mask=distinct)
        words = pairs.target_lengths > 0  # the other rows only fill the batch
        loss = jnp.sum(jnp.where(words, expected, 0.0)) / jnp.maximum(words.sum(), 1)
        return loss, (carry, {"errors_per_phoneme": jnp.sum(risks.mean(axis=1), where=words) / words.sum()})

    return loss_fn


def make_task(settings: Settings, splits: data.PairSplits, *, n_best: int, with_joint_ngrams: bool) -> run.Task:
    """Describes the training of a model that pronounces words."""
    train = [(word, pronunciation.split()) for word, pronunciation in splits.train]
    letters = data.SymbolVocabulary.from_sequences(word for word, _ in train)
    phonemes = data.SymbolVocabulary.from_sequences(pronunciation for _, pronunciation in train)

    def encode(pairs: Iterable[tuple[str, Sequence[str]]]) -> tuple[list[np.ndarray], list[np.ndarray]]:
        sources, targets = zip(*pairs, strict=True)
        return (
            [letters.encode(word, allow_unknown=True) for word in sources],
            [phonemes.encode(pronunciation, allow_unknown=True) for pronunciation in targets],
        )

    sources, targets = encode(train)
    lengths = {"source_lengths": list(map(len, sources)), "target_lengths": list(map(len, targets))}
    buckets = data.make_buckets(**lengths, num_buckets=settings.buckets, batch_size=settings.batch_size)
    pronouncer = Pronouncer(
        make_model(settings, letters.size, phonemes.size),
        letters,
        phonemes,
        max(lengths["source_lengths"]),
        max(lengths["target_lengths"]),
    )
    decode = make_decode(pronouncer)
    loss_fn = likelihood = make_likelihood_loss(pronouncer.model, settings.label_smoothing)
    if settings.risk_samples is not None:
        step = make_step(pronouncer.model)
        loss_fn = make_risk_loss(pronouncer.model, step, settings.risk_samples, pronouncer.max_phonemes + 1)
    eval_step = make_eval_step(likelihood)
    steps_per_epoch = data.pair_batches_per_epoch(buckets)
    steps = round(settings.epochs * steps_per_epoch)
    sampling_rate = None if settings.scheduled_sampling is None else inverse_sigmoid_decay(settings.scheduled_sampling)
    validation, test = group(splits.validation), group(splits.test)
    shown = validation.words[:: len(validation.words) // 6][:6]
    shown_batches = word_batches(pronouncer, shown)
    validation_batches = word_batches(pronouncer, validation.words)
    held_out = encode((word, pronunciation.split()) for word, pronunciation in splits.validation)
    held_out_buckets = data.make_buckets(*(list(map(len, part)) for part in held_out), num_buckets=4, batch_size=256)

    def init(key: jax.Array) -> tuple[Any, tuple[()]]:
        if settings.start_from is not None:
            return load(Path(settings.start_from))[1], ()
        return init_params(pronouncer.model, key), ()

    def batch(position: int) -> Training:
        pairs = data.pair_batch(sources, targets, buckets, position, seed=settings.seed)
        return Training(pairs, None if sampling_rate is None else sampling_rate(position))

    def evaluate(params: Any) -> dict[str, float]:
        total = count = 0.0
        for _, pairs in data.evaluation_pair_batches(*held_out, held_out_buckets):
            metrics, _ = eval_step(params, (), Training(pairs, None))
            total += float(metrics["nats_per_phoneme"] * metrics["phonemes"])
            count += float(metrics["phonemes"])
        answers = pronounce(pronouncer, decode, params, validation_batches, beam_size=1)
        rates = error_rates([best.phonemes for best, *_ in answers], validation.pronunciations)
        return {"nats_per_phoneme": total / count} | {f"{name.replace(' ', '_')}": rate for name, rate in rates.items()}

    def sample(params: Any, key: jax.Array) -> str:
        answers = pronounce(pronouncer, decode, params, shown_batches, beam_size=max(5, n_best), n_best=n_best)
        return "\n".join(map(describe, shown, answers))

    def figures(params: Any) -> dict[str, "Figure"]:
        if settings.attention == "none":
            return {}
        answers = pronounce(pronouncer, decode, params, shown_batches, beam_size=5)
        return {"attention": attention_figure(pronouncer, params, shown, [best.phonemes for best, *_ in answers])}

    def baselines() -> dict[str, float]:
        found = {"the nearest spelling": nearest_spelling(train, test.words)}
        if with_joint_ngrams:
            found["joint n-grams (Phonetisaurus)"] = joint_ngrams.pronounce(train, test.words)
        return {
            f"% {rate}, {name}": value
            for name, answers in found.items()
            for rate, value in error_rates(answers, test.pronunciations).items()
        }

    return run.Task(
        title=f"pronunciation, {settings.dataset}",
        init=init,
        loss=loss_fn,
        optimizer=recipe.make_optimizer(settings, steps),
        max_grad_norm=settings.max_grad_norm,
        steps=steps,
        steps_per_epoch=steps_per_epoch,
        batch=batch,
        symbols_per_step=settings.batch_size,
        symbol="word",
        metric="nats_per_phoneme",
        evaluate=evaluate,
        sample=sample,
        figures=figures,
        test=lambda params: test_scores(pronouncer, decode, params, test),
        baselines=baselines,
        metadata={
            "settings": settings._asdict(),
            "letters": letters.to_list(),
            "phonemes": phonemes.to_list(),
            "max_letters": pronouncer.max_letters,
            "max_phonemes": pronouncer.max_phonemes,
        },
    )


def init_params(model: Seq2Seq, key: jax.Array) -> Any:
    """Makes the parameters of a model."""
    return model.init(key, jnp.zeros((1, 1), int), jnp.ones(1, int), jnp.zeros((1, 1), int))


def load(folder: Path) -> tuple[Pronouncer, Any]:
    """Reads the newest checkpoint of a run folder, which holds all that it takes to pronounce words."""
    newest = checkpoint.latest(folder / "checkpoints")
    letters, phonemes = (data.SymbolVocabulary.from_list(newest.metadata[name]) for name in ("letters", "phonemes"))
    model = make_model(Settings(**newest.metadata["settings"]), letters.size, phonemes.size)
    params = checkpoint.restore(newest, jax.eval_shape(partial(init_params, model), jax.random.key(0)), part=".params")
    return Pronouncer(model, letters, phonemes, newest.metadata["max_letters"], newest.metadata["max_phonemes"]), params


def answer_typed_words(folder: Path, n_best: int) -> None:
    """Reads a word a line and pronounces it, until the input ends."""
    pronouncer, params = load(folder)
    decode = make_decode(pronouncer)
    print("A word a line; an empty line ends.", flush=True)
    for line in sys.stdin:
        word = line.strip().lower()
        if not word:
            return
        source = pronouncer.letters.encode(word, allow_unknown=True)
        shape = data.Bucket(max(pronouncer.max_letters, len(source)), 1, 1, np.arange(1))  # one for all words
        batches = list(data.evaluation_pair_batches([source], [source[:1]], (shape,)))
        [answers] = pronounce(pronouncer, decode, params, batches, beam_size=max(5, n_best), n_best=n_best)
        print(describe(word, answers), flush=True)


def main(argv: list[str]) -> None:
    FLAGS = flags.FLAGS
    if len(argv) > 1:
        raise app.UsageError(f"expected flags only, got {argv[1:]}")
    if (FLAGS.decode_only or FLAGS.interactive) and FLAGS.run_folder is None:
        raise app.UsageError("--decode_only, --interactive: which run? Give its --run_folder")
    settings = run.read_flags(Settings)
    if FLAGS.interactive:
        answer_typed_words(Path(FLAGS.run_folder), FLAGS.n_best)
        return
    splits = data.read_pair_dataset(datasets.builder(settings.dataset), settings.source, settings.target)
    if FLAGS.decode_only:
        pronouncer, params = load(Path(FLAGS.run_folder))
        for name, rate in test_scores(pronouncer, make_decode(pronouncer), params, group(splits.test)).items():
            print(f"  {rate:7.3f}  {name}")
        return
    task = make_task(settings, splits, n_best=FLAGS.n_best, with_joint_ngrams=FLAGS.joint_ngrams)
    run.train(task, "seq2seq")


if __name__ == "__main__":
    run.launch(main, define_flags)
