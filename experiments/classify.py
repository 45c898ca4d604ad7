"""Many to one: the class of a text, as whether a tweet is positive or negative.

    python -m experiments.classify

trains an LSTM that reads both ways on tweets that people have rated, from vectors of words that were learned from other
text. After each epoch it classifies some tweets that it has not seen, and draws which of their words speak for the
class that it finds; at the end it gives its accuracy on the test part beside that of logistic regression on TF-IDF, of
the VADER rules and of the most frequent class. Other texts: `--dataset=sentiment/movie_reviews`, any TFDS set with a
text and a label, or your own, `--folder=FOLDER` with a file `CLASS/NAME.txt` for each. With `--start_from=FOLDER` it
goes on from what a character model of `experiments.language_model` has learned. Where something stands may matter more
than what it is, and takes longer to learn: DNA, letter by letter, with

    python -m experiments.classify --dataset=splice --epochs=16 --learning_rate=1e-2 --dropout=0.2 --buckets=1
"""

import re
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags

import seqjax
from experiments import datasets, language_model, recipe, run, text_baselines
from experiments.word_vectors import read_vectors
from seqjax import data
from seqjax.cells.catalogue import CELLS
from seqjax.layers import attention
from seqjax.layers.linen import Recurrent
from seqjax.models.classifier import Classifier
from seqjax.training import LossFn, checkpoint
from seqjax.training.losses import mean_nll

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WORD = re.compile(
    r"https?:\S+"
    r"|[:;=8][-o']?[()\[\]dp/*3|]+(?!\w)|<3+"  # :-) <3
    r"|\w+(?=n't\b)|n't\b|'\w+|\w+"  # is n't, it 's
    r"|[^\w\s]+"
)


def define_flags() -> None:
    """Defines the flags, of which `main` alone knows."""
    flags.DEFINE_string("dataset", "sentiment/tweets", "A TFDS set of labelled texts, or any that TFDS knows.")
    flags.DEFINE_string("folder", None, "Texts of your own instead: a folder of files CLASS/NAME.txt.")
    flags.DEFINE_string("text", "text", "The feature of the data set that is read.")
    flags.DEFINE_string("label", "label", "The feature that is to be told from it.")
    flags.DEFINE_enum(
        "units",
        None,
        ["words", "characters", "subwords"],
        "What a text is read as; by default as words, or as characters where it has no spaces.",
    )
    flags.DEFINE_integer("max_length", 400, "How many units of a text are read.")
    flags.DEFINE_bool("word_vectors", True, "Start from pretrained vectors of words, where words are read.")
    flags.DEFINE_integer("embedding_size", 100, "Size of an embedded unit.")
    flags.DEFINE_enum("pooling", "max", ["max", "attention"], "How the outputs at all positions become one.")
    recipe.define_flags(hidden_size=64, batch_size=32, epochs=8, learning_rate=2e-3, dropout=0.5)
    flags.DEFINE_integer("buckets", 2, "The most shapes of batches; texts of similar lengths share one.")
    flags.DEFINE_string("start_from", None, "The run folder of a language model whose recurrent layers to start from.")


class Settings(NamedTuple):
    """The flags that make a run what it is; its checkpoints keep them."""

    dataset: str
    text: str
    label: str
    units: str | None
    max_length: int
    word_vectors: bool
    embedding_size: int | None
    pooling: str
    cell: str
    hidden_size: int
    layers: int
    batch_size: int
    buckets: int
    epochs: float
    learning_rate: float
    warmup_steps: int
    weight_decay: float
    weight_drop: float
    dropout: float
    max_grad_norm: float
    start_from: str | None
    seed: int
    folder: str | None = None  # older checkpoints lack it


def split_words(text: str) -> list[str]:
    """Splits a text into words, in lower case, and what stands between them.

    >>> split_words("It isn't bad :-) at all!!!")
    ['it', 'is', "n't", 'bad', ':-)', 'at', 'all', '!!!']
    """
    return WORD.findall(text.lower())


def make_splitter(units: str, texts: Sequence[str]) -> Callable[[str], Sequence[str]]:
    """Makes the function that splits a text into units; subwords are learned from the training texts."""
    if units == "subwords":
        import sentencepiece

        model = BytesIO()
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(texts), model_writer=model, vocab_size=2000, hard_vocab_limit=False, minloglevel=2
        )
        return partial(sentencepiece.SentencePieceProcessor(model_proto=model.getvalue()).encode, out_type=str)
    return {"words": split_words, "characters": str}[units]


def make_vocabulary(sequences: Sequence[Sequence[str]], known: Sequence[str]) -> data.SymbolVocabulary:
    """Collects the units that texts hold twice or more, so that others are unknown there too, and those known."""
    counts = Counter(unit for sequence in sequences for unit in sequence)
    return data.SymbolVocabulary.from_sequences([[unit for unit, count in counts.items() if count > 1], known])


def make_model(settings: Settings, vocab_size: int, num_classes: int) -> Classifier:
    """Makes the model that the settings describe."""
    recurrent = Recurrent(
        CELLS[settings.cell](settings.hidden_size),
        layers=settings.layers,
        bidirectional=settings.start_from is None,  # a language model reads one way
        dropout_rate=settings.dropout,
        regularize=partial(seqjax.weight_drop, rate=settings.weight_drop) if settings.weight_drop else None,
    )
    return Classifier(
        vocab_size,
        num_classes,
        recurrent,
        embedding_size=settings.embedding_size,
        attention=attention.additive(settings.hidden_size) if settings.pooling == "attention" else None,
        dropout_rate=settings.dropout,
    )


def make_loss(model: Classifier) -> LossFn:
    """Makes the mean negative log-likelihood of the classes of a batch's texts."""

    def loss_fn(params: Any, carry: tuple[()], batch: data.PairBatch, key: jax.Array) -> Any:
        logits = model.apply(params, batch.sources, batch.source_lengths, deterministic=False, rngs={"dropout": key})
        labels, valid = batch.targets[:, 0], batch.target_lengths > 0
        right = jnp.sum((logits.argmax(axis=-1) == labels) & valid) / jnp.maximum(valid.sum(), 1)
        return mean_nll(logits, labels, valid), (carry, {"accuracy": right})

    return loss_fn


@partial(jax.jit, static_argnums=0)
def predict(model: Classifier, params: Any, batch: data.PairBatch) -> tuple[jax.Array, jax.Array]:
    """Gives the logits of each text, and what each of its units says for the class that is found, its saliency.

    Simonyan, Vedaldi and Zisserman (2014); Li et al. (2016): the gradient of the log-odds of that class with respect to
    the embedded unit, times the embedded unit.
    """
    embedded = model.apply(params, batch.sources, method="embed")

    def log_odds(embedded: jax.Array) -> tuple[jax.Array, jax.Array]:
        logits = model.apply(params, embedded, batch.source_lengths, method="classify")
        found = jax.nn.one_hot(logits.argmax(axis=-1), logits.shape[-1], dtype=bool)
        others = jax.nn.logsumexp(jnp.where(found, -jnp.inf, logits), axis=-1)
        return jnp.sum(logits.max(axis=-1) - others), logits

    gradient, logits = jax.grad(log_odds, has_aux=True)(embedded)
    return logits, jnp.sum(gradient * embedded, axis=-1)


def make_task(settings: Settings, splits: data.LabelledSplits, classes: Sequence[str]) -> run.Task:
    """Describes the training of a classifier."""
    texts, labels = zip(*splits.train, strict=True)
    split = make_splitter(settings.units, texts)

    def units_of(text: str) -> Sequence[str]:
        return split(text)[: settings.max_length] or data.UNKNOWN  # an empty text

    vectors = read_vectors() if settings.word_vectors else {}
    if any(len(vector) != settings.embedding_size for vector in vectors.values()):
        [size] = {len(vector) for vector in vectors.values()}
        raise ValueError(f"--embedding_size={settings.embedding_size}: the word vectors have {size}")
    if settings.start_from is None:
        vocabulary = make_vocabulary([units_of(text) for text in texts], list(vectors))
    else:
        trained = language_model.load(Path(settings.start_from))
        vocabulary, start = trained.vocabulary, trained.params["params"]["recurrent"]
    model = make_model(settings, vocabulary.size, len(classes))
    loss_fn = make_loss(model)

    def encode(part: Sequence[tuple[str, int]]) -> tuple[list[np.ndarray], list[np.ndarray]]:
        ids = [vocabulary.encode(units_of(text), allow_unknown=True) for text, _ in part]
        return ids, [np.array([label]) for _, label in part]

    train = encode(splits.train)
    lengths = (list(map(len, side)) for side in train)
    buckets = data.make_buckets(*lengths, num_buckets=settings.buckets, batch_size=settings.batch_size)
    steps_per_epoch = data.pair_batches_per_epoch(buckets)
    steps = round(settings.epochs * steps_per_epoch)
    longest = max(len(units_of(text)) for part in splits for text, _ in part)
    shown = splits.validation[:: max(1, len(splits.validation) // 6)][:6]

    def init(key: jax.Array) -> tuple[Any, tuple[()]]:
        params = jax.jit(model.init)(key, jnp.zeros((1, 1), int), jnp.ones(1, int))
        if settings.start_from is not None:
            params["params"]["recurrent"] = start
        if vectors:
            table = np.array(params["params"]["embedding"]["embedding"])
            for place, unit in enumerate(vocabulary.symbols):
                table[place] = vectors.get(unit, table[place])
            params["params"]["embedding"]["embedding"] = jnp.asarray(table)
        return params, ()

    def classify(params: Any, part: Sequence[tuple[str, int]]) -> tuple[np.ndarray, list[np.ndarray]]:
        """Gives the log-probabilities of the classes of each text, and the saliency of its units."""
        examples = encode(part)
        log_probs, saliency = np.zeros((len(part), len(classes))), [np.empty(0)] * len(part)
        shape = data.Bucket(longest, 1, 128, np.arange(len(part)))  # one for all parts
        for places, batch in data.evaluation_pair_batches(*examples, (shape,)):
            logits, saliencies = jax.tree.map(np.asarray, predict(model, params, batch))
            for row, place in enumerate(places):
                log_probs[place] = jax.nn.log_softmax(logits[row])
                saliency[place] = saliencies[row, : batch.source_lengths[row]]
        return log_probs, saliency

    def evaluate(params: Any) -> dict[str, float]:
        log_probs, _ = classify(params, splits.validation)
        right = np.array([label for _, label in splits.validation])
        nats = -np.take_along_axis(log_probs, right[:, None], axis=1).mean()
        return {"accuracy": float(np.mean(log_probs.argmax(axis=1) == right)), "nats": float(nats)}

    def verdict(log_probs: np.ndarray, label: int) -> str:
        return f"{classes[log_probs.argmax()]} ({np.exp(log_probs.max()):.2f}), labelled {classes[label]}"

    def sample(params: Any, key: jax.Array) -> str:
        log_probs, _ = classify(params, shown)
        return "\n".join(f"{verdict(row, label)}: {text}" for row, (text, label) in zip(log_probs, shown, strict=True))

    def figures(params: Any) -> dict[str, "Figure"]:
        from seqjax.plots import SaliencyMap, saliency_maps

        maps = [
            SaliencyMap(weights, units_of(text), verdict(row, label))
            for row, weights, (text, label) in zip(*classify(params, shown), shown, strict=True)
        ]
        return {"saliency": saliency_maps(maps, label="for the class found")}

    def test(params: Any) -> dict[str, float]:
        log_probs, _ = classify(params, splits.test)
        return text_baselines.scores(log_probs.argmax(axis=1), [label for _, label in splits.test])

    name = settings.dataset if settings.folder is None else Path(settings.folder).resolve().name
    return run.Task(
        title=f"classes of {name}, {len(splits.test)} test texts",
        init=init,
        loss=loss_fn,
        optimizer=recipe.make_optimizer(settings, steps),
        max_grad_norm=settings.max_grad_norm,
        steps=steps,
        steps_per_epoch=steps_per_epoch,
        batch=lambda position: data.pair_batch(*train, buckets, position, seed=settings.seed),
        symbols_per_step=settings.batch_size,
        symbol="text",
        metric="accuracy",
        evaluate=evaluate,
        sample=sample,
        figures=figures,
        test=test,
        baselines=lambda: text_baselines.all_scores(splits, classes),
        metadata={"settings": settings._asdict(), "classes": list(classes), "vocabulary": vocabulary.to_list()},
    )


def read_splits(settings: Settings) -> tuple[data.LabelledSplits, list[str]]:
    """Reads the texts, and the name of each class."""
    if settings.folder is not None:
        return data.read_labelled_folder(settings.folder)
    return data.read_labelled_dataset(datasets.builder(settings.dataset), text=settings.text, label=settings.label)


def complete(settings: Settings, splits: data.LabelledSplits) -> Settings:
    """Settles what depends on the texts and on the language model to start from.

    Raises:
      ValueError: the settings contradict each other.
    """
    if settings.start_from is not None:
        if settings.units not in (None, "characters"):
            raise ValueError(f"--units={settings.units}: a language model reads characters")
        known = checkpoint.latest(Path(settings.start_from) / "checkpoints").metadata["settings"]
        of_model = {name: known[name] for name in ("cell", "hidden_size", "layers")}
        return settings._replace(units="characters", word_vectors=False, embedding_size=None, **of_model)
    units = settings.units or ("words" if any(" " in text for text, _ in splits.train) else "characters")
    return settings._replace(units=units, word_vectors=settings.word_vectors and units == "words")


def main() -> None:
    settings = run.read_flags(Settings)
    splits, classes = read_splits(settings)
    counts = ", ".join(f"{len(part)} {name}" for name, part in splits._asdict().items())
    print(f"{counts} texts; the classes: {', '.join(classes)}.")
    run.train(make_task(complete(settings, splits), splits, classes), "classify")


if __name__ == "__main__":
    run.launch(main, define_flags)
