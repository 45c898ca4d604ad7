"""Long memory: problems whose answer was seen long before it is asked for, by cells that can or cannot keep it.

    python -m experiments.long_memory

trains an LSTM to add two numbers that are marked somewhere among 400; at the end its error stands beside chance, the
error of whoever remembers nothing. `--problem=copy` and `--problem=temporal_order` are made up as well, and
`--problem=rows` and `--problem=pixels` read digits. `--cell=simple_rnn`, `irnn` and `gru` remember otherwise,
`--nochrono` starts the gates as usual, and `--max_grad_norm=inf` leaves gradients as they are. The figures of a run
show how far back its gradients reach.
"""

import inspect
from collections.abc import Callable
from functools import cache, partial
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags
from flax import linen as nn
from flax.serialization import from_state_dict
from jaxtyping import Array, Float

import seqjax
from experiments import datasets, long_lags, recipe, run
from experiments.long_lags import Lag, Problem
from seqjax.cells.catalogue import CELLS
from seqjax.cells.contract import Cell
from seqjax.layers.linen import Recurrent
from seqjax.recurrence.diagnostics import gates, gradient_contributions, log_jacobian_norms, saturation
from seqjax.training import make_eval_step
from seqjax.training.losses import mean_nll

if TYPE_CHECKING:
    from matplotlib.figure import Figure

GATES_DRAWN = ("gru", "lstm")
SEQUENCES_PER_EPOCH = 8000  # of problems that are made up; as many as there are digits
SCORED_AT_ONCE = 250  # sequences
WINDOW = 40  # last steps whose contributions to gradients are drawn


def define_flags() -> None:
    """Defines the flags, of which `main` alone knows."""
    flags.DEFINE_enum("problem", "adding", [*long_lags.MADE_UP, "rows", "pixels"], "What is to be learned.")
    flags.DEFINE_integer("length", None, f"Steps of what is made up; by default {long_lags.MADE_UP}.")
    flags.DEFINE_string("dataset", "mnist10k", "A TFDS set of images, for rows and pixels: mnist10k, or any.")
    flags.DEFINE_bool(
        "chrono", True, "Start the gates, where there are any, with memories of all lengths up to the sequence's."
    )
    recipe.define_flags(hidden_size=64, batch_size=32, epochs=12, learning_rate=5e-3, weight_decay=0.0, dropout=0.0)


class Settings(NamedTuple):
    """The flags that make a run what it is; its checkpoints keep them."""

    problem: str
    length: int | None
    dataset: str
    chrono: bool
    cell: str
    hidden_size: int
    layers: int
    batch_size: int
    epochs: float
    learning_rate: float
    warmup_steps: int
    weight_decay: float
    weight_drop: float
    dropout: float
    max_grad_norm: float
    seed: int


class Reader(nn.Module):
    """Reads a sequence, and answers at its end or at each step."""

    recurrent: Recurrent
    answers: int  # numbers in an answer
    at_each_step: bool
    dropout_rate: float

    @nn.compact
    def __call__(self, xs: Float[Array, "B T I"], *, deterministic: bool = True) -> Float[Array, "B ..."]:
        _, ys = self.recurrent(xs, deterministic=deterministic)
        ys = nn.Dropout(self.dropout_rate)(ys if self.at_each_step else ys[:, -1], deterministic=deterministic)
        return nn.Dense(self.answers, name="output")(ys)


def make_cell(settings: Settings, length: int) -> Cell:
    """Makes the cell that the settings describe, for sequences of so many steps."""
    make = CELLS[settings.cell]
    has_gates = "bias_init" in inspect.signature(make).parameters
    return make(settings.hidden_size, **({"bias_init": seqjax.chrono(length)} if settings.chrono and has_gates else {}))


def make_model(settings: Settings, problem: Problem) -> Reader:
    """Makes the model that the settings describe."""
    recurrent = Recurrent(
        make_cell(settings, problem.test.inputs.shape[1]),
        layers=settings.layers,
        dropout_rate=settings.dropout,
        regularize=partial(seqjax.weight_drop, rate=settings.weight_drop),
    )
    return Reader(recurrent, problem.classes or 1, problem.test.targets.ndim == 2, settings.dropout)


def measure(problem: Problem, outputs: Float[Array, "B ..."], targets: Array) -> tuple[Array, dict[str, Array]]:
    """Gives the loss of a batch, and the share of sequences in which anything is wrong.

    A sum is right within 0.04 (Hochreiter and Schmidhuber 1997).
    """
    if problem.classes is None:
        error = outputs[..., 0] - targets
        return jnp.mean(error**2), {"percent_wrong": 100 * jnp.mean(jnp.abs(error) > 0.04)}
    wrong = (outputs.argmax(-1) != targets).reshape(len(targets), -1).any(1)
    return mean_nll(outputs, targets), {"percent_wrong": 100 * jnp.mean(wrong)}


def make_figures(cell: Cell, problem: Problem, settings: Settings) -> Callable[[Any], dict[str, "Figure"]]:
    """Makes the function that draws how far back the gradients of one layer reach, and where its gates stand."""
    inputs, targets = (jnp.asarray(part[0]) for part in problem.validation)
    key, input_size = jax.random.key(settings.seed), inputs.shape[-1]
    window = min(WINDOW, len(inputs))
    init = partial(cell.init, input_size=input_size)

    @cache
    def untrained(name: str) -> np.ndarray:
        other = make_cell(settings._replace(cell=name), len(inputs))
        params = other.init(key, input_size=input_size)
        return np.asarray(jax.jit(partial(log_jacobian_norms, other))(params, inputs))

    @jax.jit
    def diagnose(params: Any) -> tuple[Array, Array, Any]:
        layer = from_state_dict(jax.eval_shape(init, key), params["recurrent"]["layer_0"])

        def step(state: Any, x: Array) -> tuple[Any, Any]:
            return cell.step(layer, state, x)[0], state

        _, states = jax.lax.scan(step, cell.initial_state(layer), inputs)
        start = jax.tree.map(lambda leaf: leaf[-window], states)

        def contributions(t: Array) -> Array:
            def loss(ys: Array) -> Array:
                answer = ys[t] @ params["output"]["kernel"] + params["output"]["bias"]
                target = targets[-window:][t] if targets.ndim else targets
                return measure(problem, answer[None], target[None])[0]

            terms = gradient_contributions(cell, layer, inputs[-window:], loss, start)
            return jnp.linalg.norm(terms.recurrent_kernel, axis=(1, 2))

        shares = {}
        if settings.cell in GATES_DRAWN:
            shares = {f"gate {letter}": saturation(gate) for letter, gate in gates(layer, states, inputs).items()}
        return log_jacobian_norms(cell, layer, inputs), jax.lax.map(contributions, jnp.arange(window)), shares

    def figures(params: Any) -> dict[str, "Figure"]:
        from seqjax.plots import contribution_map, gate_saturation, gradient_flow

        norms, contributions, shares = jax.tree.map(np.asarray, diagnose(params["params"]))
        drawn = {
            "gradient_flow": gradient_flow(
                {f"{settings.cell}, trained": norms} | {f"{name}, untrained": untrained(name) for name in CELLS}
            ),
            "contributions": contribution_map(contributions),
        }
        return drawn | ({"gates": gate_saturation(shares)} if shares else {})

    return figures


def make_task(settings: Settings, problem: Problem) -> run.Task:
    """Describes the training of a cell on a problem."""
    model = make_model(settings, problem)
    steps = round(settings.epochs * problem.steps_per_epoch)
    metric = "mean_squared_error" if problem.classes is None else "nats"

    def loss_fn(params: Any, carry: Any, batch: Lag, key: jax.Array | None) -> Any:
        rngs = None if key is None else {"dropout": key}
        outputs = model.apply(params, batch.inputs, deterministic=key is None, rngs=rngs)
        loss, metrics = measure(problem, outputs, batch.targets)
        return loss, (carry, {metric: loss} | metrics)

    eval_step = make_eval_step(loss_fn)
    answer = jax.jit(model.apply)

    def score(params: Any, part: Lag) -> dict[str, float]:
        sums: dict[str, float] = {}
        for start in range(0, len(part.targets), SCORED_AT_ONCE):
            batch = Lag(*(values[start : start + SCORED_AT_ONCE] for values in part))
            for name, value in eval_step(params, (), batch)[0].items():
                sums[name] = sums.get(name, 0.0) + float(value) * len(batch.targets)
        return {name: total / len(part.targets) for name, total in sums.items() if name != "loss"}

    def test(params: Any) -> dict[str, float]:
        found = score(params, problem.test)
        unit = "nats per step" if model.at_each_step else metric.replace("_", " ")
        return {unit: found[metric], "% wrong": found["percent_wrong"]}

    def sample(params: Any, key: jax.Array) -> str:
        outputs = answer(params, problem.validation.inputs[:5])
        answers = outputs[..., 0] if problem.classes is None else outputs.argmax(-1)
        rows = zip(problem.validation.targets, np.asarray(answers), strict=False)
        return "\n".join(f"expected {describe(target)}, got {describe(answer)}" for target, answer in rows)

    return run.Task(
        title=f"long memory, {settings.problem}, {settings.cell}",
        init=lambda key: (jax.jit(model.init)(key, jnp.asarray(problem.test.inputs[:1])), ()),
        loss=loss_fn,
        optimizer=recipe.make_optimizer(settings, steps),
        max_grad_norm=settings.max_grad_norm,
        steps=steps,
        steps_per_epoch=problem.steps_per_epoch,
        batch=problem.batch,
        symbols_per_step=settings.batch_size,
        symbol="sequence",
        metric=metric,
        evaluate=partial(score, part=problem.validation),
        sample=sample,
        figures=make_figures(model.recurrent.cell, problem, settings) if settings.layers == 1 else lambda params: {},
        test=test,
        baselines=problem.baselines,
        metadata={"settings": settings._asdict()},
    )


def describe(answer: np.ndarray) -> str:
    """Writes a number, a class, or the last of a row of classes."""
    if answer.ndim:
        return " ".join(str(symbol) for symbol in answer[-long_lags.COPIED :])
    return f"{answer:.3f}" if np.issubdtype(answer.dtype, np.floating) else str(answer)


def main() -> None:
    settings = run.read_flags(Settings)
    if settings.problem in long_lags.MADE_UP:
        settings = settings._replace(length=settings.length or long_lags.MADE_UP[settings.problem])
        shape = (settings.length, settings.batch_size, SEQUENCES_PER_EPOCH)
        problem = long_lags.made_up(settings.problem, *shape, settings.seed)
    else:
        if settings.length is not None:
            raise app.UsageError(f"--length: the images of --problem={settings.problem} have a length of their own")
        builder = datasets.builder(settings.dataset)
        problem = long_lags.images(builder, settings.problem, settings.batch_size, settings.seed)
    run.train(make_task(settings, problem), "long_memory")


if __name__ == "__main__":
    run.launch(main, define_flags)
