"""Devices: a mesh over all of them, and batches cut along it; the only place that knows meshes.

Data parallelism needs nothing else here: parameters are copied to every device, a batch is cut along its first axis,
and the compiler, which sees how the inputs of a jitted step lie, adds the gradients up across devices. The step itself
is the same function on one device and on many.

On a CPU one device per core is the fast way to train: the elementwise part of a recurrence runs on one thread a device.
"""

import contextlib
import os
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

AXIS = "batch"


def one_device_per_core(cores: int | None = None) -> None:
    """Makes JAX see each core of a CPU as a device of its own; call it before JAX is used.

    Linux is told to schedule this thread, and those that it starts from now on, as a batch. Otherwise the thread of a
    device may, when woken, take the core of the one that wakes it, and the next device gets its part when the first is
    done: of calls of 5 ms on two cores two thirds took up to twice as long, and two fifths as a batch.

    Args:
      cores: how many; those that this process may use if None.

    Raises:
      RuntimeError: from JAX, if it has been used.
      ValueError: if `cores` is below 1.
    """
    if cores is not None and cores < 1:
        raise ValueError(f"cores: expected at least 1, got {cores}")
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    jax.config.update("jax_num_cpu_devices", cores or usable)
    with contextlib.suppress(OSError):  # a sandbox may know no policy but its own
        if hasattr(os, "SCHED_BATCH") and os.sched_getscheduler(0) == os.SCHED_OTHER:
            os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))


def data_mesh(batch: Any) -> Mesh:
    """Makes a mesh of one axis over as many devices as can share a batch evenly.

    Args:
      batch: a pytree whose leaves lead with the batch axis, or are scalars.

    >>> data_mesh(np.zeros((1, 3))).size
    1
    """
    sizes = [np.shape(leaf)[0] for leaf in jax.tree.leaves(batch) if np.ndim(leaf)]
    devices = jax.devices()
    count = max(n for n in range(1, len(devices) + 1) if not any(size % n for size in sizes))
    return jax.make_mesh((count,), (AXIS,), axis_types=(AxisType.Auto,), devices=devices[:count])


def replicate(mesh: Mesh, tree: Any) -> Any:
    """Copies each leaf to every device.

    >>> import jax.numpy as jnp
    >>> replicate(data_mesh(()), {"w": jnp.ones(3)})["w"].sharding.is_fully_replicated
    True
    """
    return jax.device_put(tree, NamedSharding(mesh, PartitionSpec()))


def shard(mesh: Mesh, tree: Any) -> Any:
    """Cuts each leaf along its first axis, a part for each device; a scalar is copied.

    Raises:
      ValueError: if the first axis of a leaf cannot be cut evenly; it names the leaf.

    >>> xs = np.ones((8, 3))
    >>> shard(data_mesh(xs), {"xs": xs})["xs"].shape
    (8, 3)
    """

    def place(path: Any, leaf: Any) -> Any:
        if np.ndim(leaf) == 0:
            return replicate(mesh, leaf)
        if np.shape(leaf)[0] % mesh.size:
            name = jax.tree_util.keystr(path)
            raise ValueError(f"tree{name}: expected a first axis that {mesh.size} devices share, got {np.shape(leaf)}")
        return jax.device_put(leaf, NamedSharding(mesh, PartitionSpec(AXIS)))

    return jax.tree_util.tree_map_with_path(place, tree)


def on_first_device(mesh: Mesh, tree: Any) -> Any:
    """Gives each leaf as the first device has it, for work that is not shared, such as evaluation.

    >>> import jax.numpy as jnp
    >>> mesh = data_mesh(())
    >>> len(on_first_device(mesh, replicate(mesh, jnp.ones(3))).devices())
    1
    """
    return jax.device_put(tree, mesh.devices.flat[0])
