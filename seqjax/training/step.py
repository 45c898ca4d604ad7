"""Training: a pure step from one train state to the next, with clipped gradients and a guard against non-finite ones.

A loss function defines the objective:

    loss_fn(params, carry, batch, key) -> (loss, (carry, metrics))

`carry` is the recurrent state that a stream carries from batch to batch (`()` if there is none). `metrics` is a dict of
scalars. `key` is None in evaluation, where nothing is random. The optimizer handles schedules, weight decay and the
like; the caller handles files, signals and progress.

Mixed precision uses JAX's own setting. A step that is first called within

    with jax.default_matmul_precision("BF16_BF16_F32"):

rounds the factors of every matrix product to bfloat16, forward and backward, cells included, if the device has such
products (GPU and TPU; a CPU stays in float32). Everything else stays in float32: sums of products, gates, states,
residuals for the gradient, losses, gradients, the optimizer's moments and the parameters.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike
from jaxtyping import Array, Int, Key

Params = Any  # a pytree of arrays
Carry = Any  # a pytree of arrays, () if nothing is carried
Batch = Any  # a pytree of arrays
Metrics = dict[str, ArrayLike]  # scalars by name
LossFn = Callable[[Params, Carry, Batch, Array | None], tuple[Array, tuple[Carry, Metrics]]]


class TrainState(NamedTuple):
    """The complete state of a training run between two steps."""

    params: Params
    opt_state: optax.OptState
    carry: Carry
    step: Int[Array, ""]  # steps taken, including skipped ones
    skipped: Int[Array, ""]  # steps not applied because the loss or the gradient was not finite
    clipped: Int[Array, ""]  # steps applied with a clipped gradient
    key: Key[Array, ""]  # never changes: step n draws from fold_in(key, n)


def init_train_state(
    params: Params, optimizer: optax.GradientTransformation, carry: Carry, key: Key[Array, ""]
) -> TrainState:
    """Builds the train state before the first step.

    Everything is copied, so that the caller's arrays survive when the train step donates the state's buffers.

    Args:
      params: a pytree of arrays.
      optimizer: the same optimizer as for `make_train_step`.
      carry: the recurrent state before the first batch, `()` if there is none.
      key: the run's key, from `jax.random.key`.

    Raises:
      TypeError: if the key is not a typed key.

    >>> state = init_train_state({"w": jnp.ones(3)}, optax.sgd(0.1), (), jax.random.key(0))
    >>> int(state.step)
    0
    """
    if not (isinstance(key, jax.Array) and jnp.issubdtype(key.dtype, jax.dtypes.prng_key)):
        raise TypeError(f"key: expected a typed key from jax.random.key, got {key!r}")
    zero = jnp.zeros((), jnp.int32)
    opt_state = _with_clipping(optimizer, 1.0).init(params)
    return jax.tree.map(_copy, TrainState(params, opt_state, carry, step=zero, skipped=zero, clipped=zero, key=key))


def make_train_step(
    loss_fn: LossFn, optimizer: optax.GradientTransformation, max_grad_norm: float = 1.0
) -> Callable[[TrainState, Batch], tuple[TrainState, Metrics]]:
    """Builds the jitted training step `(state, batch) -> (state, metrics)`, which donates the buffers of its state.

    Before the optimizer sees the gradient g of all parameters, the step clips it by its norm (Pascanu, Mikolov and
    Bengio 2013, algorithm 1):

        g <- g * max_grad_norm / |g|   if |g| > max_grad_norm

    A step whose loss or gradient norm is not finite leaves parameters, optimizer state and carry unchanged, and counts
    as skipped. The key of a step is `fold_in(state.key, state.step)`, so a resumed run draws the same numbers as an
    uninterrupted one.

    Args:
      loss_fn: `(params, carry, batch, key) -> (loss, (carry, metrics))`.
      optimizer: any optax optimizer.
      max_grad_norm: the largest norm of a gradient; `math.inf` disables clipping.

    Returns:
      The step. Its metrics are those of `loss_fn` plus `loss`, `grad_norm` (before clipping), `clipped_share` (of the
      steps applied so far) and `skipped` (number of skipped steps so far).

    Raises:
      ValueError: if `max_grad_norm` is not above 0; from the step, if the loss or a metric is not a scalar, a metric
        has a reserved name, or the new carry differs from the old one in structure, shapes or dtypes.
      TypeError: from the step, if `loss_fn` does not return `(loss, (carry, metrics))`.

    >>> def loss_fn(params, carry, batch, key):
    ...     return jnp.sum(params["w"] * batch), (carry, {})
    >>> optimizer = optax.sgd(0.5)
    >>> train_step = make_train_step(loss_fn, optimizer, max_grad_norm=5.0)
    >>> state = init_train_state({"w": jnp.array([1.0, 1.0])}, optimizer, (), jax.random.key(0))
    >>> state, metrics = train_step(state, jnp.array([6.0, 8.0]))
    >>> state.params["w"], float(metrics["grad_norm"])
    (Array([-0.5, -1. ], dtype=float32), 10.0)
    >>> state, metrics = train_step(state, jnp.array([jnp.nan, 1.0]))
    >>> state.params["w"], int(metrics["skipped"])
    (Array([-0.5, -1. ], dtype=float32), 1)
    """
    if not max_grad_norm > 0:
        raise ValueError(f"max_grad_norm: expected a number above 0, got {max_grad_norm}")
    clipping_optimizer = _with_clipping(optimizer, max_grad_norm)
    loss_and_grad = jax.value_and_grad(_checked(loss_fn), has_aux=True)

    def train_step(state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        key = jax.random.fold_in(state.key, state.step)
        (loss, (carry, metrics)), grads = loss_and_grad(state.params, state.carry, batch, key)
        grad_norm = optax.tree.norm(grads)
        finite = jnp.isfinite(loss) & jnp.isfinite(grad_norm)

        def apply(state: TrainState) -> TrainState:
            updates, opt_state = clipping_optimizer.update(grads, state.opt_state, state.params)
            params = optax.apply_updates(state.params, updates)
            clipped = state.clipped + (grad_norm > max_grad_norm)
            return state._replace(params=params, opt_state=opt_state, carry=carry, clipped=clipped)

        state = jax.lax.cond(finite, apply, lambda state: state, state)
        state = state._replace(step=state.step + 1, skipped=state.skipped + ~finite)
        return state, metrics | {
            "loss": loss,
            "grad_norm": grad_norm,
            "clipped_share": state.clipped / jnp.maximum(state.step - state.skipped, 1),
            "skipped": state.skipped,
        }

    return jax.jit(train_step, donate_argnums=0)


def make_eval_step(loss_fn: LossFn) -> Callable[[Params, Carry, Batch], tuple[Metrics, Carry]]:
    """Builds the jitted evaluation step `(params, carry, batch) -> (metrics, carry)`; the key of `loss_fn` is None.

    Its metrics are those of `loss_fn` plus `loss`. For an exact mean over batches of unequal size, let `loss_fn` return
    a sum and a count (`seqjax.training.losses.nll_sum_and_count`) and add them up.

    Raises:
      ValueError, TypeError: from the step, as in `make_train_step`.

    >>> eval_step = make_eval_step(lambda params, carry, batch, key: (jnp.sum(params * batch), (carry, {})))
    >>> eval_step(jnp.array([1.0, 2.0]), (), jnp.array([3.0, 4.0]))
    ({'loss': Array(11., dtype=float32)}, ())
    """
    checked_loss_fn = _checked(loss_fn)

    def eval_step(params: Params, carry: Carry, batch: Batch) -> tuple[Metrics, Carry]:
        loss, (carry, metrics) = checked_loss_fn(params, carry, batch, None)
        return metrics | {"loss": loss}, carry

    return jax.jit(eval_step)


def _checked(loss_fn: LossFn) -> LossFn:
    """Wraps a loss function so that tracing it checks its contract."""

    def checked_loss_fn(
        params: Params, carry: Carry, batch: Batch, key: Array | None
    ) -> tuple[Array, tuple[Carry, Metrics]]:
        match loss_fn(params, carry, batch, key):
            case loss, (new_carry, dict() as metrics):
                pass
            case other:
                raise TypeError(
                    f"loss_fn: expected it to return (loss, (carry, metrics)), got {jax.tree.structure(other)}"
                )
        for name, value in ({"loss": loss} | metrics).items():
            if jnp.shape(value):
                raise ValueError(f"loss_fn: expected it to return scalars, got {name} of shape {jnp.shape(value)}")
        if reserved := sorted({"loss", "grad_norm", "clipped_share", "skipped"} & metrics.keys()):
            raise ValueError(f"loss_fn: expected metrics without reserved names, got {reserved}")
        expected, found = _leaves(carry), _leaves(new_carry)
        for path in [*expected, *found]:
            if expected.get(path) != found.get(path):
                raise ValueError(
                    f"loss_fn: expected it to return a carry like its input, carry{path} "
                    f"{expected.get(path, 'absent')}, got {found.get(path, 'absent')}"
                )
        return loss, (new_carry, metrics)

    return checked_loss_fn


def _leaves(tree: Any) -> dict[str, str]:
    """Lists the type of each leaf of a pytree by its path, as in {".h": "float32[8,64]"}."""
    return {
        jax.tree_util.keystr(path): jax.typeof(leaf).str_short()
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    }


def _with_clipping(optimizer: optax.GradientTransformation, max_grad_norm: float) -> optax.GradientTransformation:
    """Prepends clipping by global norm to an optimizer; the state does not depend on the norm."""
    return optax.chain(optax.clip_by_global_norm(max_grad_norm), optimizer)


def _copy(x: Any) -> Array:
    """Copies an array; makes a weak type strong, as in a step's output, so that the second step does not recompile."""
    return jnp.array(x, dtype=jnp.asarray(x).dtype, copy=True)
