"""Many to one: the class of a text, for example whether a tweet is positive or negative.

    python -m experiments.classify

The script trains a bidirectional LSTM on tweets that people rated; its word embeddings start from pretrained vectors.
After each epoch it classifies some validation tweets, and draws which words pushed it towards or away from its
prediction. At the end it reports the accuracy and macro F1 on the test set, and those of logistic regression on TF-IDF,
of the VADER rules and of the most frequent class.

    --dataset=NAME          train on sentiment/movie_reviews, or any TFDS data set with a text and a label
    --folder=FOLDER         train on your own texts, one file CLASS/NAME.txt each
    --start_from=FOLDER     start from the recurrent layers of a run of experiments.language_model

In DNA the position of a letter matters, which takes longer to learn:

    python -m experiments.classify --dataset=splice --epochs=40 --learning_rate=5e-3 --dropout=0.2 --buckets=1

The default run takes 0.3 minutes on two cores and reaches 0.908 accuracy; the best baseline, VADER, reaches 0.974.
Higher is better, so VADER is ahead; its authors collected these tweets to test its rules.
"""

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

import seqjax
from experiments import datasets, language_model
from experiments.baselines import text_classifiers
from experiments.datasets.word_vectors import read_vectors
from experiments.harness import folder, recipe
from experiments.harness.errors import UsageError, blame
from experiments.harness.launch import launch
from experiments.harness.settings import setting
from experiments.harness.task import Batches, Objective, Task, Test, Validation
from experiments.harness.train import Run, train
from seqjax import data
from seqjax.cells.catalogue import CELLS
from seqjax.layers import attention
from seqjax.layers.linen import Recurrent
from seqjax.models.classifier import Classifier
from seqjax.training import LossFn
from seqjax.training.losses import mean_nll

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WORD = re.compile(
    r"https?:\S+"
    r"|[:;=8][-o']?[()\[\]dp/*3|]+(?!\w)|<3+"  # :-) <3
    r"|\w+(?=n't\b)|n't\b|'\w+|\w+"  # is n't, it 's
    r"|[^\w\s]+"
)


@dataclass(frozen=True)
class Settings(recipe.Layers, recipe.Regularization, recipe.Optimization, Run):
    """Texts and model."""

    dataset: str = setting("sentiment/tweets", "TFDS data set of labelled texts.")
    folder: str | None = setting(None, "Folder of your own texts, CLASS/NAME.txt, instead of a data set.")
    text: str = setting("text", "Feature of the data set that holds the text.")
    label: str = setting("label", "Feature of the data set that holds the class.")
    units: str | None = setting(
        None,
        "Units that a text is split into; words by default, or characters if the texts have no spaces.",
        choices=["words", "characters", "subwords"],
    )
    max_length: int = setting(400, "Maximum number of units to read from a text.", at_least=1)
    word_vectors: bool = setting(True, "Start from pretrained word vectors if the units are words.")
    embedding_size: int | None = setting(100, "Size of the embedding of a unit.", at_least=1)
    pooling: str = setting("max", "Pooling of the outputs over all positions.", choices=["max", "attention"])
    buckets: int = setting(2, "Maximum number of batch shapes; texts of similar length share one.", at_least=1)
    start_from: str | None = setting(None, "Run folder of a language model to take the recurrent layers from.")
    hidden_size: int = 64
    learning_rate: float = 2e-3
    dropout: float = 0.5

    def adapted_defaults(self) -> dict[str, Any]:
        """Returns the settings that must match the language model to start from, which reads characters."""
        if self.start_from is None:
            return {}
        known = folder.newest(self.start_from, "language_model", "chorales", flag="start_from").metadata["settings"]
        of_model = {name: known[name] for name in ("cell", "hidden_size", "layers")}
        return {"units": "characters", "word_vectors": False, "embedding_size": None, **of_model}


def split_words(text: str) -> list[str]:
    """Splits a text into words, in lower case, and the punctuation between them.

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
    """Builds the vocabulary of `known` and of all units that occur at least twice; the rest train the unknown unit."""
    counts = Counter(unit for sequence in sequences for unit in sequence)
    return data.SymbolVocabulary.from_sequences([[unit for unit, count in counts.items() if count > 1], known])


def make_model(settings: Settings, vocab_size: int, num_classes: int) -> Classifier:
    """Makes the model that the settings describe."""
    recurrent = Recurrent(
        CELLS[settings.cell](settings.hidden_size),
        layers=settings.layers,
        bidirectional=settings.start_from is None,  # a language model reads in one direction
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
    """Makes the loss function: the mean negative log-likelihood of the classes of a batch's texts."""

    def loss_fn(params: Any, carry: tuple[()], batch: data.PairBatch, key: jax.Array) -> Any:
        logits = model.apply(params, batch.sources, batch.source_lengths, deterministic=False, rngs={"dropout": key})
        labels, valid = batch.targets[:, 0], batch.target_lengths > 0
        right = jnp.sum((logits.argmax(axis=-1) == labels) & valid) / jnp.maximum(valid.sum(), 1)
        return mean_nll(logits, labels, valid), (carry, {"accuracy": right})

    return loss_fn


@partial(jax.jit, static_argnums=0)
def predict(model: Classifier, params: Any, batch: data.PairBatch) -> tuple[jax.Array, jax.Array]:
    """Returns the logits of each text, and the saliency of each of its units for the predicted class.

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


def make_task(settings: Settings, splits: data.LabelledSplits, classes: Sequence[str]) -> Task:
    """Makes the task of training a classifier."""
    texts, labels = zip(*splits.train, strict=True)
    units = settings.units or ("words" if any(" " in text for text in texts) else "characters")
    split = make_splitter(units, texts)

    def units_of(text: str) -> Sequence[str]:
        return split(text)[: settings.max_length] or data.UNKNOWN  # if the text is empty

    vectors = read_vectors() if settings.word_vectors and units == "words" else {}
    if any(len(vector) != settings.embedding_size for vector in vectors.values()):
        [size] = {len(vector) for vector in vectors.values()}
        raise UsageError(
            f"--embedding_size={settings.embedding_size}: expected {size}, as in the word vectors, or --noword_vectors"
        )
    if settings.start_from is None:
        vocabulary = make_vocabulary([units_of(text) for text in texts], list(vectors))
    else:
        trained = language_model.load(settings.start_from, flag="start_from")
        vocabulary, start = trained.vocabulary, trained.params["params"]["recurrent"]
    model = make_model(settings, vocabulary.size, len(classes))
    loss_fn = make_loss(model)

    def encode(part: Sequence[tuple[str, int]]) -> tuple[list[np.ndarray], list[np.ndarray]]:
        ids = [vocabulary.encode(units_of(text), allow_unknown=True) for text, _ in part]
        return ids, [np.array([label]) for _, label in part]

    examples = encode(splits.train)
    lengths = (list(map(len, side)) for side in examples)
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
        """Returns the log-probabilities of the classes of each text, and the saliency of its units."""
        encoded = encode(part)
        log_probs, saliency = np.zeros((len(part), len(classes))), [np.empty(0)] * len(part)
        shape = data.Bucket(longest, 1, 128, np.arange(len(part)))  # one shape for all parts
        for places, batch in data.evaluation_pair_batches(*encoded, (shape,)):
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
        return {"saliency": saliency_maps(maps, label="for the predicted class")}

    def test(params: Any) -> dict[str, float]:
        log_probs, _ = classify(params, splits.test)
        return text_classifiers.scores(log_probs.argmax(axis=1), [label for _, label in splits.test])

    name = settings.dataset if settings.folder is None else Path(settings.folder).resolve().name
    return Task(
        title=f"classification, {name}, {len(splits.test)} test texts",
        objective=Objective(init, loss_fn, recipe.make_optimizer(settings, steps), settings.max_grad_norm),
        batches=Batches(
            lambda step: data.pair_batch(*examples, buckets, step, seed=settings.seed),
            steps,
            steps_per_epoch,
            units_per_step=settings.batch_size,
            unit="text",
        ),
        validation=Validation("accuracy", evaluate, sample, figures),
        test=Test(test, lambda: text_classifiers.all_scores(splits, classes), ("accuracy", "macro F1")),
        symbols={"classes": list(classes), "units": units, "vocabulary": vocabulary.to_list()},
    )


def read_splits(settings: Settings) -> tuple[data.LabelledSplits, list[str]]:
    """Reads the texts that the settings select, and the names of the classes."""
    if settings.folder is not None:
        with blame("folder", settings.folder):
            return data.read_labelled_folder(settings.folder)
    with blame("dataset", settings.dataset):
        builder = datasets.prepared(settings.dataset)
        return data.read_labelled_dataset(builder, text=settings.text, label=settings.label)


def main(settings: Settings) -> None:
    for name, value in settings.adapted_defaults().items():
        if getattr(settings, name) != value:
            raise UsageError(f"--{name}={getattr(settings, name)}: expected {value} with --start_from; omit the flag")
    splits, classes = read_splits(settings)
    counts = ", ".join(f"{len(part)} {name}" for name, part in splits._asdict().items())
    print(f"Texts: {counts}. Classes: {', '.join(classes)}.")
    train(make_task(settings, splits, classes), settings, "classify")


if __name__ == "__main__":
    launch(main, Settings, needs=("array_record", "sklearn", "vaderSentiment"))
