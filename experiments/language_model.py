"""One stream: a language model of characters, and text sampled from it.

    python -m experiments.language_model

The script trains an LSTM on the press texts of the Brown corpus. It writes 200 characters before the first step, after
each epoch and at the end. It then reports the bits per character on the last 5% of the text, which is held out, and
those of the compressors PPMd and xz.

    --dataset=NAME          train on another TFDS data set of texts, such as brown/all
    --text=FILE             train on your own UTF-8 file
    --dynamic_evaluation    also score a model that keeps learning from the test text
    --sample_only --run_folder=FOLDER --prompt="The jury said"
                            write more text with a trained model

The default run takes 1.5 minutes on two cores and reaches 2.339 bits per character; the best baseline, PPMd of order 6,
reaches 2.168. Lower is better, so PPMd is ahead.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments import datasets
from experiments.baselines import compressors
from experiments.harness import folder, recipe
from experiments.harness.errors import blame
from experiments.harness.launch import launch
from experiments.harness.settings import action, from_record, option, setting
from experiments.harness.task import Batches, Objective, Task, Test, Validation
from experiments.harness.train import Run, train
from seqjax import data, decoding
from seqjax.models.language_model import LanguageModel
from seqjax.training import LossFn, checkpoint, make_eval_step
from seqjax.training.dynamic_evaluation import DynamicEvalState, gradient_rms, make_dynamic_eval_step
from seqjax.training.losses import bits_per_character, mean_nll

CONTEXT = 1000  # characters read before the scored ones


@dataclass(frozen=True)
class Settings(recipe.Layers, recipe.Regularization, recipe.Optimization, Run):
    """Text and sampling."""

    dataset: str = setting("brown/press", "TFDS data set of texts: brown/press, brown/all or any other.")
    text: str | None = setting(None, "UTF-8 file to train on instead of a data set.")
    length: int = setting(64, "Characters of each stream per update; gradients flow no further back.", at_least=1)
    dynamic_evaluation: bool = option(False, "Also score a model that keeps learning from the test text.")
    sample_only: bool = action(False, "Only write text, with the newest checkpoint in --run_folder.")
    prompt: str | None = option(None, "Start of the text to write; a newline by default.")
    characters: int = option(200, "Number of characters to write.", at_least=1)
    greedy: bool = option(False, "Always take the most probable character and ignore the next three flags.")
    temperature: float = option(0.5, "Divisor of the logits: below 1 is safer, above 1 bolder.")
    top_k: int | None = option(None, "Sample only from this many of the most probable characters.")
    top_p: float | None = option(None, "Sample only from the most probable characters that add up to this probability.")
    hidden_size: int = 256
    batch_size: int = 32
    epochs: float = 9.0
    learning_rate: float = 1.2e-2
    weight_drop: float = 0.05


def make_model(settings: Settings, vocabulary: data.CharVocabulary) -> LanguageModel:
    """Makes the model that the settings describe."""
    recurrent = recipe.make_recurrent(settings)
    return LanguageModel(vocabulary.size, recurrent, dropout_rate=settings.dropout)


def make_loss(model: LanguageModel) -> LossFn:
    """Makes the loss function: the mean negative log-likelihood of a batch's characters."""

    def loss_fn(params: Any, carry: Any, batch: data.StreamBatch, key: jax.Array | None) -> Any:
        rngs = None if key is None else {"dropout": key}
        carry, logits = model.apply(
            params, batch.inputs, carry, resets=batch.resets, deterministic=key is None, rngs=rngs
        )
        nll = mean_nll(logits, batch.targets, batch.mask)
        return nll, (carry, {"bits_per_character": bits_per_character(nll)})

    return loss_fn


@partial(jax.jit, static_argnums=(0, 2))
def initial_carry(model: LanguageModel, params: Any, batch_size: int) -> Any:
    """Returns the carry of `batch_size` streams before their first character."""
    return model.apply(params, jnp.zeros((batch_size, 0), int))[0]


def score(step: Callable[[Any, Any], tuple[Any, Any]], state: Any, batches: Iterable[data.StreamBatch]) -> float:
    """Returns the bits per character over all counted characters; `step` is `(state, batch) -> (state, metrics)`."""
    bits = characters = 0.0
    for batch in batches:
        state, metrics = step(state, batch)
        bits += float(metrics["bits_per_character"]) * batch.mask.sum()
        characters += batch.mask.sum()
    return bits / characters


def make_step(model: LanguageModel) -> Callable:
    """Makes the step function that the searches in `seqjax.decoding` call."""

    def step(params: Any, context: Any, carry: Any, token: jax.Array) -> tuple[jax.Array, Any]:
        carry, logits = model.apply(params, carry, token, method="step")
        return logits.at[0].set(-jnp.inf), carry  # never the unknown character

    return step


def make_processors(settings: Settings) -> list[Callable]:
    """Makes the processors that change the logits before a character is drawn."""
    processors = []
    for name in ("temperature", "top_k", "top_p"):
        value = getattr(settings, name)
        if value is not None:
            with blame(name, value):
                processors.append(getattr(decoding, name)(value))
    return processors


def make_writer(
    model: LanguageModel, vocabulary: data.CharVocabulary, settings: Settings
) -> Callable[[Any, jax.Array], str]:
    """Makes the function `(params, key) -> text` that continues the prompt."""
    prompt = settings.prompt or ("\n" if "\n" in vocabulary.symbols else vocabulary.symbols[-1])
    with blame("prompt", repr(prompt)):
        ids = vocabulary.encode(prompt)
    processors = [] if settings.greedy else make_processors(settings)
    step, read = make_step(model), jax.jit(model.apply)

    def write(params: Any, key: jax.Array) -> str:
        carry, _ = read(params, ids[None, :-1])
        options = {"bos": ids[-1:], "eos": None, "max_length": settings.characters}
        if settings.greedy:
            found = decoding.greedy_search(step, params, None, carry, **options)
        else:
            found = decoding.sample(key, step, params, None, carry, processors=processors, **options)
        return prompt + vocabulary.decode(np.asarray(found.tokens[0, 0]))

    return write


def make_task(settings: Settings, splits: data.TextSplits) -> Task:
    """Makes the task of training a language model on a text."""
    vocabulary = data.CharVocabulary.from_text(splits.train)
    train_ids, validation_ids, test_ids = (vocabulary.encode(text, allow_unknown=True) for text in splits)
    model = make_model(settings, vocabulary)
    loss_fn = make_loss(model)
    eval_step = make_eval_step(loss_fn)
    shape = {"batch_size": settings.batch_size, "length": settings.length}
    with blame("batch_size", settings.batch_size):
        steps_per_epoch = data.batches_per_epoch(len(train_ids), **shape)
    steps = round(settings.epochs * steps_per_epoch)

    def init(key: jax.Array) -> tuple[Any, Any]:
        params = jax.jit(model.init)(key, jnp.zeros((1, 1), int))
        return params, initial_carry(model, params, settings.batch_size)

    def static_score(params: Any, batches: Iterable[data.StreamBatch], streams: int) -> float:
        def step(carry: Any, batch: data.StreamBatch) -> tuple[Any, Any]:
            metrics, carry = eval_step(params, carry, batch)
            return carry, metrics

        return score(step, initial_carry(model, params, streams), batches)

    def evaluate(params: Any) -> dict[str, float]:
        batches = data.evaluation_batches(train_ids[-CONTEXT:], validation_ids, length=100, batch_size=16)
        return {"bits_per_character": static_score(params, batches, 16)}

    def score_test(params: Any) -> dict[str, float]:
        def batches(length: int) -> Iterable[data.StreamBatch]:
            return data.evaluation_batches(validation_ids[-CONTEXT:], test_ids, length=length)

        scores = {"bits per character": static_score(params, batches(100), 1)}
        if settings.dynamic_evaluation:
            carry = initial_carry(model, params, settings.batch_size)
            segments = (data.stream_batch(train_ids, i, batch_size=settings.batch_size, length=20) for i in range(200))
            state = DynamicEvalState(
                params, params, gradient_rms(loss_fn, params, carry, segments), initial_carry(model, params, 1)
            )
            step = make_dynamic_eval_step(loss_fn, learning_rate=4e-4, decay=0.005)  # chosen on the validation set
            scores["bits per character, dynamic evaluation"] = score(step, state, batches(20))
        return scores

    def baselines() -> dict[str, float]:
        known = splits.train + splits.validation
        ppmd = {
            f"bits per character, PPMd of order {order}": compressors.ppmd_bits_per_character(
                known, splits.test, order=order
            )
            for order in (6, 8)
        }
        return ppmd | {"bits per character, xz": compressors.xz_bits_per_character(known, splits.test)}

    return Task(
        title=f"language model, {settings.text or settings.dataset}",
        objective=Objective(init, loss_fn, recipe.make_optimizer(settings, steps), settings.max_grad_norm),
        batches=Batches(
            partial(data.stream_batch, train_ids, **shape),
            steps,
            steps_per_epoch,
            units_per_step=settings.batch_size * settings.length,
            unit="character",
        ),
        validation=Validation("bits_per_character", evaluate, sample=make_writer(model, vocabulary, settings)),
        test=Test(score_test, baselines),
        symbols={"vocabulary": vocabulary.to_list()},
    )


class Trained(NamedTuple):
    """A trained model and everything needed to use it."""

    settings: Settings
    vocabulary: data.CharVocabulary
    model: LanguageModel
    params: Any


def load(run_folder: str | None, *, flag: str = "run_folder") -> Trained:
    """Loads the newest checkpoint of a run of this script or of `experiments.chorales`.

    Raises:
      UsageError: if there is none; the message names the flag.
    """
    newest = folder.newest(run_folder, "language_model", "chorales", flag=flag)
    folder.announce_damage(newest)
    settings = from_record(Settings, newest.metadata["settings"])
    vocabulary = data.CharVocabulary.from_list(newest.metadata["vocabulary"])
    model = make_model(settings, vocabulary)
    params = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 1), int))
    return Trained(settings, vocabulary, model, checkpoint.restore(newest, params, part=".params"))


def read_splits(settings: Settings) -> data.TextSplits:
    """Reads the text that the settings select."""
    if settings.text is not None:
        with blame("text", settings.text):
            return data.read_text_file(settings.text)
    with blame("dataset", settings.dataset):
        return data.read_text_dataset(datasets.prepared(settings.dataset))


def main(settings: Settings) -> None:
    if settings.sample_only:
        trained = load(settings.run_folder)
        write = make_writer(trained.model, trained.vocabulary, settings)
        print(write(trained.params, jax.random.key(settings.seed)))
        return
    train(make_task(settings, read_splits(settings)), settings, "language_model")


if __name__ == "__main__":
    launch(main, Settings, needs=("array_record", "pyppmd"))
