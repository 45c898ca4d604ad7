"""Checkpoints of a run: any pytree of arrays with metadata as JSON, and never a half-written one.

A run's folder holds its newest checkpoints, numbered in the order of writing:

    000041/arrays/        every array of the pytree under its path, written by orbax
    000041/metadata.json  flags, vocabulary, scores: anything the caller wants to store with the arrays
    000041/SHA256SUMS     checksums of all these files, for `sha256sum --check`
    000042/...

A checkpoint is written under another name and renamed when it is complete, so that a process killed at any moment
leaves the previous one intact and current. If the checksums show that a checkpoint was damaged later, the previous one
is used.
"""

import hashlib
import json
import os
import pathlib
import shutil
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
from absl import logging

_ARRAYS, _METADATA, _SUMS = "arrays", "metadata.json", "SHA256SUMS"


class Checkpoint(NamedTuple):
    """An intact checkpoint."""

    path: pathlib.Path
    metadata: dict[str, Any]
    damaged: tuple[str, ...]  # unusable newer checkpoints, newest first: path and reason


def save(folder: str | os.PathLike, state: Any, metadata: dict[str, Any], *, keep: int = 3) -> pathlib.Path:
    """Writes a new checkpoint to a folder and deletes all but the last `keep`.

    Args:
      folder: the run's folder of checkpoints; created if it does not exist.
      state: a pytree of arrays, none of size 0; typed keys are allowed.
      metadata: values that JSON can represent; tuples come back as lists, and keys as strings.
      keep: number of checkpoints to keep.

    Returns:
      The path of the checkpoint.

    Raises:
      ValueError: if `keep` is below 1 or the metadata contain NaN or infinity, which JSON lacks; from orbax, if an
        array has size 0.
      TypeError: if JSON cannot represent the metadata.
    """
    if keep < 1:
        raise ValueError(f"keep: expected at least 1, got {keep}")
    description = json.dumps(metadata, indent=1, allow_nan=False)
    folder = pathlib.Path(folder).absolute()
    written = _numbered(folder)
    path = folder / f"{int(written[-1].name) + 1 if written else 1:06d}"
    unfinished = path.with_suffix(".unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)  # left by a killed process
    unfinished.mkdir(parents=True)
    with _checkpointer() as checkpointer:
        checkpointer.save(unfinished / _ARRAYS, {name: _to_host(leaf) for name, leaf in _named_leaves(state)})
    (unfinished / _METADATA).write_text(description)
    (unfinished / _SUMS).write_text("\n".join(_sums(unfinished)))
    unfinished.rename(path)
    for old in [*written, path][:-keep]:
        shutil.rmtree(old)
    return path


def latest(folder: str | os.PathLike) -> Checkpoint:
    """Finds the newest intact checkpoint of a folder and reads its metadata, not its arrays.

    A logged warning and the result name each newer checkpoint that is damaged.

    Raises:
      FileNotFoundError: if there is no intact checkpoint.
    """
    damaged: list[str] = []
    for path in reversed(_numbered(pathlib.Path(folder).absolute())):
        wrong = _damage(path)
        if wrong is None:
            return Checkpoint(path, json.loads((path / _METADATA).read_text()), tuple(damaged))
        damaged.append(f"{path}: {wrong}")
        logging.warning("Damaged checkpoint %s; falling back to the one before it.", damaged[-1])
    raise FileNotFoundError("\n".join([f"no {'intact ' if damaged else ''}checkpoint in {folder}", *damaged]))


def restore(checkpoint: Checkpoint, template: Any, *, part: str = "") -> Any:
    """Reads the arrays of a checkpoint into the structure of a template, bit for bit.

    Args:
      checkpoint: the result of `latest`.
      template: a pytree like the saved one, of arrays or, from `jax.eval_shape`, of their shapes. A NumPy array is
        restored as a NumPy array, anything else as a JAX array with the template's placement.
      part: path of the template in the saved pytree, such as ".params" in a `TrainState`; the root if empty.

    Raises:
      ValueError: if the template has other leaves, shapes or dtypes than the checkpoint; the message names the first.
    """
    expected = {part + name: _describe(leaf) for name, leaf in _named_leaves(template)}
    with _checkpointer() as checkpointer:
        stored = checkpointer.metadata(checkpoint.path / _ARRAYS).item_metadata.tree
        found = {name: _describe(array) for name, array in stored.items() if _is_within(name, part)}
        for name in [*expected, *found]:
            if expected.get(name) != found.get(name):
                raise ValueError(
                    f"{checkpoint.path} is from another model: expected {name} to be {expected.get(name, 'absent')}, "
                    f"found {found.get(name, 'absent')}"
                )
        arrays = checkpointer.restore(checkpoint.path / _ARRAYS)
    leaves = [_like(leaf, arrays[part + name]) for name, leaf in _named_leaves(template)]
    return jax.tree.unflatten(jax.tree.structure(template), leaves)


def _checkpointer() -> ocp.Checkpointer:
    """Builds the orbax checkpointer, without compression: it takes longer than writing and hardly shrinks weights."""
    return ocp.Checkpointer(ocp.PyTreeCheckpointHandler(use_compression=False))


def _numbered(folder: pathlib.Path) -> list[pathlib.Path]:
    """Lists the complete checkpoints of a folder, oldest first."""
    paths = folder.iterdir() if folder.is_dir() else ()
    return sorted((path for path in paths if path.name.isdecimal()), key=lambda path: int(path.name))


def _sums(path: pathlib.Path) -> list[str]:
    """Lists the digest and name of each file below a folder, except the list itself."""
    lines = []
    for file in sorted(path.rglob("*")):
        if file.is_file() and file != path / _SUMS:
            with file.open("rb") as stream:
                digest = hashlib.file_digest(stream, "sha256").hexdigest()
            lines.append(f"{digest}  {file.relative_to(path).as_posix()}")
    return lines


def _damage(path: pathlib.Path) -> str | None:
    """Returns a description of the first missing or changed file of a checkpoint, None if it is intact."""
    if not (path / _SUMS).is_file():
        return f"{_SUMS} is missing"
    written = (path / _SUMS).read_text(errors="replace").splitlines()
    changed = sorted(line.split("  ")[-1] for line in set(written) ^ set(_sums(path)))
    return f"{changed[0]} is not as it was written" if changed else None


def _named_leaves(tree: Any) -> list[tuple[str, Any]]:
    """Lists the leaves of a pytree with their paths, as in ".params.input_kernel"."""
    return [(jax.tree_util.keystr(path), leaf) for path, leaf in jax.tree_util.tree_leaves_with_path(tree)]


def _is_within(name: str, part: str) -> bool:
    """Returns whether a path lies within another, as ".params.bias" does in ".params", but ".params_mean" does not."""
    return name.startswith(part) and name[len(part) :][:1] in ".["


def _is_key(leaf: Any) -> bool:
    """Returns whether a leaf is an array of typed keys."""
    return hasattr(leaf, "dtype") and jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _to_host(leaf: Any) -> np.ndarray:
    """Converts a leaf to the array that is stored."""
    return np.asarray(jax.random.key_data(leaf) if _is_key(leaf) else leaf)


def _describe(leaf: Any) -> str:
    """Describes the array that is stored for a leaf, as in "float32[8, 64]"."""
    if _is_key(leaf):
        leaf = jax.eval_shape(jax.random.key_data, leaf)
    elif not hasattr(leaf, "dtype"):
        leaf = np.asarray(leaf)
    return f"{np.dtype(leaf.dtype).name}{list(leaf.shape)}"


def _like(leaf: Any, array: np.ndarray) -> Any:
    """Converts a stored array to the type and placement of the template's leaf."""
    if _is_key(leaf):
        array = jax.random.wrap_key_data(jnp.asarray(array), impl=jax.random.key_impl(jnp.zeros((), leaf.dtype)))
    if isinstance(leaf, jax.Array | jax.ShapeDtypeStruct):
        committed = getattr(leaf, "committed", True)  # if not, jit chooses the device; committing recompiles
        return jax.device_put(array, leaf.sharding if committed else None)
    return array
