"""Training: a pure step from one train state to the next, with clipped gradients and a guard against NaN and infinity.

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

import math
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float, Int, Key

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
    skipped: Int[Array, ""]  # steps not applied because the loss, the gradient or what they led to was not finite
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

    A step leaves parameters, optimizer state and carry unchanged and counts as skipped if its loss, its gradient, the
    new parameters or the new carry are not finite. A finite gradient is clipped even if the sum of its squares is too
    large for a float. The key of a step is `fold_in(state.key, state.step)`, so a resumed run draws the same numbers as
    an uninterrupted one.

    Args:
      loss_fn: `(params, carry, batch, key) -> (loss, (carry, metrics))`.
      optimizer: any optax optimizer. One that needs more than the gradient is passed `value`, the loss; `grad`, the
        gradient before clipping; and `value_fn`, the loss of this batch as a function of the parameters.
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
    checked_loss_fn = _checked(loss_fn)
    loss_and_grad = jax.value_and_grad(checked_loss_fn, has_aux=True)

    def train_step(state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        key = jax.random.fold_in(state.key, state.step)
        (loss, (carry, metrics)), grads = loss_and_grad(state.params, state.carry, batch, key)
        clippable, grad_norm, grads_finite = _clippable(grads, max_grad_norm)

        def value_fn(params: Params) -> Array:
            return checked_loss_fn(params, state.carry, batch, key)[0]

        def apply(state: TrainState) -> TrainState:
            extra = {"value": loss, "grad": grads, "value_fn": value_fn}
            updates, opt_state = clipping_optimizer.update(clippable, state.opt_state, state.params, **extra)
            params = optax.apply_updates(state.params, updates)
            clipped = state.clipped + jnp.where(grad_norm > max_grad_norm, 1, 0)
            new = state._replace(params=params, opt_state=opt_state, carry=carry, clipped=clipped)
            return jax.tree.map(partial(jnp.where, all_finite(params)), new, skip(state))

        def skip(state: TrainState) -> TrainState:
            return state._replace(skipped=state.skipped + 1)

        finite = jnp.isfinite(loss) & grads_finite & all_finite(carry)
        state = jax.lax.cond(finite, apply, skip, state)
        state = state._replace(step=state.step + 1)
        applied = jnp.maximum(state.step - state.skipped, 1)
        return state, metrics | {
            "loss": loss,
            "grad_norm": grad_norm,
            "clipped_share": state.clipped.astype(jnp.float32) / applied.astype(jnp.float32),
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


def all_finite(tree: Any) -> Bool[Array, ""]:
    """Returns whether all floats of a pytree are finite.

    >>> bool(all_finite({"w": jnp.array([1.0, jnp.inf]), "n": 3}))
    False
    """
    floats = [leaf for leaf in jax.tree.leaves(tree) if jnp.issubdtype(jnp.result_type(leaf), jnp.inexact)]
    finite = jnp.array(True)
    for leaf in floats:
        finite &= jnp.all(jnp.isfinite(leaf))
    return finite


def _clippable(grads: Params, max_norm: float) -> tuple[Params, Float[Array, ""], Bool[Array, ""]]:
    """Returns a gradient that optax can clip, the norm, and whether the gradient is finite.

    If the sum of its squares overflows, the gradient is scaled down, and clipped already here.
    """
    norm = optax.tree.norm(grads)
    overflows = jnp.isinf(norm)
    shrink = jnp.where(overflows, 2.0 ** -(int(jnp.finfo(norm.dtype).maxexp) * 5 // 8), 1.0)
    shrink = jax.lax.optimization_barrier(
        shrink
    )  # or XLA merges it with the second factor, and their product underflows

    def scaled(grads: Params, factor: Array) -> Params:
        return jax.tree.map(lambda grad: grad * factor.astype(grad.dtype), grads)

    def norm_of_scaled(grads: Params) -> Array:
        return optax.tree.norm(scaled(grads, shrink))

    scaled_norm = jax.lax.cond(overflows, norm_of_scaled, lambda grads: norm, grads)
    if math.isfinite(max_norm):
        grads = scaled(scaled(grads, shrink), jnp.where(overflows, max_norm / scaled_norm, 1.0))
    return grads, scaled_norm / shrink.astype(norm.dtype), jnp.isfinite(scaled_norm)


def _leaves(tree: Any) -> dict[str, str]:
    """Lists the type of each leaf of a pytree by its path, as in {".h": "float32[8,64]"}."""
    return {
        jax.tree_util.keystr(path): jax.typeof(leaf).str_short()
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    }


def _with_clipping(
    optimizer: optax.GradientTransformation, max_grad_norm: float
) -> optax.GradientTransformationExtraArgs:
    """Prepends clipping by global norm to an optimizer; the state does not depend on the norm."""
    return optax.with_extra_args_support(optax.chain(optax.clip_by_global_norm(max_grad_norm), optimizer))


def _copy(x: Any) -> Array:
    """Copies an array; makes a weak type strong, as in a step's output, so that the second step does not recompile."""
    return jnp.array(x, dtype=jnp.asarray(x).dtype, copy=True)
