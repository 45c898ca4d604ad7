"""Data parallelism: a mesh over the devices, and batches split across it; no other module knows about meshes.

Parameters are copied to every device, and a batch is split along its first axis. The compiler sees how the inputs of a
jitted step are sharded and sums the gradients across devices. The step is the same function on one device and on many.

On a CPU, training is fastest with one device per core, because the elementwise part of a recurrence runs on one thread
per device.
"""

import contextlib
import os
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

AXIS = "batch"


def one_device_per_core(cores: int | None = None) -> None:
    """Makes JAX treat each core of a CPU as a separate device; call it before JAX is used.

    On Linux, this thread and every thread that it starts later switch to the batch scheduling policy. Under the default
    policy, a device's thread may take the core of the thread that wakes it, so that the devices run one after another.

    Args:
      cores: number of devices; if None, the number of cores that this process may use.

    Raises:
      RuntimeError: from JAX, if it is already in use.
      ValueError: if `cores` is below 1.
    """
    if cores is not None and cores < 1:
        raise ValueError(f"cores: expected at least 1, got {cores}")
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    jax.config.update("jax_num_cpu_devices", cores or usable)
    with contextlib.suppress(OSError):  # a sandbox may refuse to change the policy
        if hasattr(os, "SCHED_BATCH") and os.sched_getscheduler(0) == os.SCHED_OTHER:
            os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))


def data_mesh(batch: Any) -> Mesh:
    """Builds a one-axis mesh over as many devices as can split a batch evenly.

    Args:
      batch: a pytree whose leaves are scalars or have the batch axis first.

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
    """Splits each leaf along its first axis, one part for each device; scalars are copied.

    Raises:
      ValueError: if the first axis of a leaf cannot be split evenly; the message names the leaf.

    >>> xs = np.ones((8, 3))
    >>> shard(data_mesh(xs), {"xs": xs})["xs"].shape
    (8, 3)
    """

    def place(path: Any, leaf: Any) -> Any:
        if np.ndim(leaf) == 0:
            return replicate(mesh, leaf)
        if np.shape(leaf)[0] % mesh.size:
            name = jax.tree_util.keystr(path)
            raise ValueError(f"tree{name}: expected a first axis divisible by {mesh.size}, got {np.shape(leaf)}")
        return jax.device_put(leaf, NamedSharding(mesh, PartitionSpec(AXIS)))

    return jax.tree_util.tree_map_with_path(place, tree)


def on_first_device(mesh: Mesh, tree: Any) -> Any:
    """Places each leaf on the first device, for work that is not split, such as evaluation.

    >>> import jax.numpy as jnp
    >>> mesh = data_mesh(())
    >>> len(on_first_device(mesh, replicate(mesh, jnp.ones(3))).devices())
    1
    """
    return jax.device_put(tree, mesh.devices.flat[0])
