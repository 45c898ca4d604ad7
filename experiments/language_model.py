"""One stream: a language model of characters, and text written by it.

    python -m experiments.language_model

trains an LSTM on the press texts of the Brown corpus. Before the first step, after each epoch and at the end it writes
200 characters; at the end it gives the bits per character of the last 5% of the text, which it never saw, beside
what the compressors PPMd and xz need for them. Other text: `--text=FILE`, or `--dataset=NAME` of any TFDS text set.
More from a run that is finished: `--sample_only --run_folder=FOLDER --prompt="The jury said"`.
"""

from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags

import seqjax
from experiments import compression, datasets, recipe, run
from seqjax import data, decoding
from seqjax.cells.catalogue import CELLS
from seqjax.layers.linen import Recurrent
from seqjax.models.language_model import LanguageModel
from seqjax.training import LossFn, checkpoint, make_eval_step
from seqjax.training.dynamic_evaluation import DynamicEvalState, gradient_rms, make_dynamic_eval_step
from seqjax.training.losses import bits_per_character, mean_nll


def define_flags() -> None:
    """Defines the flags, of which `main` alone knows."""
    flags.DEFINE_string("dataset", "brown/press", "A TFDS text set: brown/press, brown/all, or any that TFDS knows.")
    flags.DEFINE_string("text", None, "A UTF-8 file to read instead of a data set.")
    recipe.define_flags(hidden_size=256, batch_size=32, epochs=9, learning_rate=1.2e-2, weight_drop=0.05)
    flags.DEFINE_integer("length", 64, "Characters of a stream between two updates, over which gradients flow.")
    flags.DEFINE_bool("dynamic_evaluation", False, "Also report the test score of a model that goes on learning.")
    flags.DEFINE_bool("sample_only", False, "Write text with the newest checkpoint of --run_folder, nothing else.")
    flags.DEFINE_string("prompt", None, "What the text begins with; by default, a new line.")
    flags.DEFINE_integer("characters", 200, "How many characters to write.")
    flags.DEFINE_bool("greedy", False, "Always take the most probable character.")
    flags.DEFINE_float("temperature", 0.5, "Logits are divided by it.")
    flags.DEFINE_integer("top_k", None, "Choose among so many most probable characters.")
    flags.DEFINE_float("top_p", None, "Choose among the most probable characters that share this probability.")


CONTEXT = 1000  # characters read before those that are scored


class Settings(NamedTuple):
    """The flags that make a run what it is; its checkpoints keep them."""

    dataset: str
    text: str | None
    cell: str
    hidden_size: int
    layers: int
    batch_size: int
    length: int
    epochs: float
    learning_rate: float
    warmup_steps: int
    weight_decay: float
    weight_drop: float
    dropout: float
    max_grad_norm: float
    seed: int


class Sampling(NamedTuple):
    """The flags that say how text is written."""

    prompt: str | None
    characters: int
    greedy: bool
    temperature: float
    top_k: int | None
    top_p: float | None


def make_model(settings: Settings, vocabulary: data.CharVocabulary) -> LanguageModel:
    """Makes the model that the settings describe."""
    recurrent = Recurrent(
        CELLS[settings.cell](settings.hidden_size),
        layers=settings.layers,
        dropout_rate=settings.dropout,
        regularize=partial(seqjax.weight_drop, rate=settings.weight_drop),
    )
    return LanguageModel(vocabulary.size, recurrent, dropout_rate=settings.dropout)


def make_loss(model: LanguageModel) -> LossFn:
    """Makes the mean negative log-likelihood of a batch's characters."""

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
    """Gives the carry of streams of which nothing has been read."""
    return model.apply(params, jnp.zeros((batch_size, 0), int))[0]


def score(step: Callable[[Any, Any], tuple[Any, Any]], state: Any, batches: Iterable[data.StreamBatch]) -> float:
    """Gives the bits per character over all counted characters; `step` takes and returns a state and gives metrics."""
    bits = characters = 0.0
    for batch in batches:
        state, metrics = step(state, batch)
        bits += float(metrics["bits_per_character"]) * batch.mask.sum()
        characters += batch.mask.sum()
    return bits / characters


def make_step(model: LanguageModel) -> Callable:
    """Makes the function by which a search knows the model."""

    def step(params: Any, context: Any, carry: Any, token: jax.Array) -> tuple[jax.Array, Any]:
        carry, logits = model.apply(params, carry, token, method="step")
        return logits.at[0].set(-jnp.inf), carry  # no unknown character

    return step


def make_writer(
    model: LanguageModel, vocabulary: data.CharVocabulary, sampling: Sampling
) -> Callable[[Any, jax.Array], str]:
    """Makes the function `(params, key) -> text` that goes on from the prompt."""
    prompt = sampling.prompt or ("\n" if "\n" in vocabulary.symbols else vocabulary.symbols[-1])
    try:
        ids = vocabulary.encode(prompt)
    except ValueError as error:
        raise ValueError(f"--prompt={prompt!r}: {error}") from None
    processors = [decoding.temperature(sampling.temperature)]
    processors += [] if sampling.top_k is None else [decoding.top_k(sampling.top_k)]
    processors += [] if sampling.top_p is None else [decoding.top_p(sampling.top_p)]

    step, read = make_step(model), jax.jit(model.apply)

    def write(params: Any, key: jax.Array) -> str:
        carry, _ = read(params, ids[None, :-1])
        options = {"bos": ids[-1:], "eos": None, "max_length": sampling.characters}
        if sampling.greedy:
            found = decoding.greedy_search(step, params, None, carry, **options)
        else:
            found = decoding.sample(key, step, params, None, carry, processors=processors, **options)
        return prompt + vocabulary.decode(np.asarray(found.tokens[0, 0]))

    return write


def make_task(settings: Settings, sampling: Sampling, splits: data.TextSplits, *, dynamic_evaluation: bool) -> run.Task:
    """Describes the training of a language model on a text."""
    vocabulary = data.CharVocabulary.from_text(splits.train)
    train, validation, test = (vocabulary.encode(text, allow_unknown=True) for text in splits)
    model = make_model(settings, vocabulary)
    loss_fn = make_loss(model)
    eval_step = make_eval_step(loss_fn)
    shape = {"batch_size": settings.batch_size, "length": settings.length}
    steps_per_epoch = data.batches_per_epoch(len(train), **shape)
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
        batches = data.evaluation_batches(train[-CONTEXT:], validation, length=100, batch_size=16)
        return {"bits_per_character": static_score(params, batches, 16)}

    def score_test(params: Any) -> dict[str, float]:
        def batches(length: int) -> Iterable[data.StreamBatch]:
            return data.evaluation_batches(validation[-CONTEXT:], test, length=length)

        scores = {"bits per character": static_score(params, batches(100), 1)}
        if dynamic_evaluation:
            carry = initial_carry(model, params, settings.batch_size)
            segments = (data.stream_batch(train, i, batch_size=settings.batch_size, length=20) for i in range(200))
            state = DynamicEvalState(
                params, params, gradient_rms(loss_fn, params, carry, segments), initial_carry(model, params, 1)
            )
            step = make_dynamic_eval_step(loss_fn, learning_rate=4e-4, decay=0.005)  # chosen on the validation part
            scores["bits per character, dynamic evaluation"] = score(step, state, batches(20))
        return scores

    def baselines() -> dict[str, float]:
        known = splits.train + splits.validation
        ppmd = {
            f"bits per character, PPMd of order {order}": compression.ppmd_bits_per_character(
                known, splits.test, order=order
            )
            for order in (6, 8)
        }
        return ppmd | {"bits per character, xz": compression.xz_bits_per_character(known, splits.test)}

    return run.Task(
        title=f"characters of {settings.text or settings.dataset}",
        init=init,
        loss=loss_fn,
        optimizer=recipe.make_optimizer(settings, steps),
        max_grad_norm=settings.max_grad_norm,
        steps=steps,
        steps_per_epoch=steps_per_epoch,
        batch=partial(data.stream_batch, train, **shape),
        symbols_per_step=settings.batch_size * settings.length,
        symbol="character",
        metric="bits_per_character",
        evaluate=evaluate,
        sample=make_writer(model, vocabulary, sampling),
        test=score_test,
        baselines=baselines,
        metadata={"settings": settings._asdict(), "vocabulary": vocabulary.to_list()},
    )


class Trained(NamedTuple):
    """A model that has been trained, and what it takes to use it."""

    settings: Settings
    vocabulary: data.CharVocabulary
    model: LanguageModel
    params: Any


def load(folder: Path) -> Trained:
    """Loads the newest checkpoint of a run folder, which holds all that it takes."""
    newest = checkpoint.latest(folder / "checkpoints")
    settings = Settings(**newest.metadata["settings"])
    vocabulary = data.CharVocabulary.from_list(newest.metadata["vocabulary"])
    model = make_model(settings, vocabulary)
    params = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 1), int))
    return Trained(settings, vocabulary, model, checkpoint.restore(newest, params, part=".params"))


def read_splits(settings: Settings) -> data.TextSplits:
    """Reads the text that the settings name."""
    if settings.text is not None:
        return data.read_text_file(settings.text)
    return data.read_text_dataset(datasets.builder(settings.dataset))


def main() -> None:
    FLAGS = flags.FLAGS
    settings, sampling = run.read_flags(Settings), run.read_flags(Sampling)
    if FLAGS.sample_only:
        if FLAGS.run_folder is None:
            raise app.UsageError("--sample_only: which run? Give its --run_folder")
        trained = load(Path(FLAGS.run_folder))
        write = make_writer(trained.model, trained.vocabulary, sampling)
        print(write(trained.params, jax.random.key(FLAGS.seed)))
        return
    task = make_task(settings, sampling, read_splits(settings), dynamic_evaluation=FLAGS.dynamic_evaluation)
    run.train(task, "language_model")


if __name__ == "__main__":
    run.launch(main, define_flags)
