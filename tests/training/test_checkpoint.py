"""Checkpoints: the same bits come back, a killed process leaves one that can be used, a damaged one is passed over."""

import os
import shutil
import subprocess
import sys
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from absl import logging

import seqjax
from seqjax.training import init_train_state, make_train_step
from seqjax.training.checkpoint import latest, restore, save


class Pair(NamedTuple):
    left: object
    right: object


def everything(seed=0):
    """A pytree with every kind of leaf that a run has."""
    rng = np.random.default_rng(seed)
    return {
        "params": Pair(
            jnp.asarray(rng.normal(size=(3, 4)), jnp.float32), [jnp.asarray(rng.normal(size=2), jnp.bfloat16)]
        ),
        "nothing": Pair((), None),
        "special": jnp.array([np.nan, np.inf, -0.0]),
        "step": jnp.int32(seed),
        "flag": jnp.array(True),
        "key": jax.random.key(seed),
        "keys": jax.random.split(jax.random.key(seed, impl="rbg"), 2),
        "position": np.int64(2**40 + seed),
        "float64": rng.normal(size=3),
    }


def bits(tree):
    return [
        (jax.tree_util.keystr(path), str(leaf.dtype), np.asarray(jax.random.key_data(leaf)).tobytes())
        if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
        else (jax.tree_util.keystr(path), str(leaf.dtype), np.asarray(leaf).tobytes())
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    ]


def test_the_same_bits_and_metadata_come_back(tmp_path):
    metadata = {"flags": {"hidden_size": 8}, "vocabulary": ["\n", "é", "字", "\ud800"], "best": 2.5}
    path = save(tmp_path, everything(1), metadata)
    checkpoint = latest(tmp_path)
    assert checkpoint == (path, metadata, ())
    for template in (everything(2), jax.eval_shape(everything) | {"position": np.int64(0), "float64": np.zeros(3)}):
        state = restore(checkpoint, template)
        assert jax.tree.structure(state) == jax.tree.structure(template)
        assert bits(state) == bits(everything(1))
        assert isinstance(state["params"].left, jax.Array) and isinstance(state["float64"], np.ndarray)
        assert jax.random.key_impl(state["keys"]) == "rbg"


def test_a_part_comes_back_alone(tmp_path):
    state = {"whole": Pair(everything(1)["params"], {"a": jnp.ones(2)}), "rest": jnp.zeros(3)}
    save(tmp_path, state, {})
    template = Pair(everything(2)["params"], {"a": jnp.zeros(2)})
    for part, expected, zeros in (
        ("['whole']", state["whole"], template),
        ("['whole'].left", state["whole"].left, template.left),
        ("['whole'].right['a']", state["whole"].right["a"], template.right["a"]),
    ):
        assert bits(restore(latest(tmp_path), zeros, part=part)) == bits(expected)
    with pytest.raises(ValueError, match=r"expected \['whole'\]\.left\.left to be absent, found float32"):
        restore(latest(tmp_path), {}, part="['whole'].left")


def test_a_part_is_not_one_whose_name_begins_alike(tmp_path):
    class State(NamedTuple):
        params: object
        params_mean: object

    save(tmp_path, State(jnp.ones(2), jnp.zeros(2)), {})
    np.testing.assert_array_equal(restore(latest(tmp_path), jnp.zeros(2), part=".params"), 1.0)


def test_arrays_are_placed_as_the_templates_are(tmp_path):
    mesh = jax.sharding.Mesh(np.array(jax.devices()[:1]), "data")
    sharding = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("data"))
    state = {
        "rows": jax.device_put(jnp.arange(4.0), sharding),
        "key": jax.device_put(jax.random.key(0), mesh.devices[0]),
    }
    save(tmp_path, state, {})
    restored = restore(latest(tmp_path), state)
    assert restored["rows"].sharding == sharding and restored["key"].committed
    assert not restore(latest(tmp_path), state | {"rows": jnp.zeros(4)})["rows"].committed


def test_the_last_ones_are_kept_and_the_newest_is_latest(tmp_path):
    paths = [save(tmp_path, everything(n), {"n": n}, keep=2) for n in range(4)]
    assert sorted(tmp_path.iterdir()) == paths[2:]
    assert latest(tmp_path).metadata == {"n": 3}
    with pytest.raises(ValueError, match="keep: expected at least 1, got 0"):
        save(tmp_path, everything(), {}, keep=0)


def test_what_json_cannot_hold_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(TypeError, match="not JSON serializable"):
        save(tmp_path / "run", everything(), {"array": np.zeros(2)})
    assert not (tmp_path / "run").exists()


def dropout_lstm_loss(params, carry, batch, key):
    """A stream through an LSTM with dropout on its outputs: everything that a resumed run could get wrong."""
    cell = seqjax.lstm(4)
    carry, ys = seqjax.unroll(cell, params, batch, initial_state=carry)
    ys *= jax.random.bernoulli(key, 0.8, ys.shape).astype(ys.dtype)
    return jnp.mean((ys - 0.1) ** 2), (carry, {})


def test_a_resumed_run_is_the_unbroken_run_bit_for_bit(tmp_path, compilations):
    cell, optimizer = seqjax.lstm(4), optax.adamw(optax.cosine_decay_schedule(0.1, 6))
    batches = jax.random.normal(jax.random.key(1), (6, 2, 5, 3))

    def new_state():
        params = cell.init(jax.random.key(0), input_size=3)
        return init_train_state(params, optimizer, cell.initial_state(params, (2,)), jax.random.key(2))

    train_step = make_train_step(dropout_lstm_loss, optimizer, max_grad_norm=0.05)
    state = new_state()
    for n in range(6):
        if n == 3:
            save(tmp_path, state, {})
        state, _ = train_step(state, batches[n])
    resumed = restore(latest(tmp_path), new_state())
    with compilations() as compiled:
        for n in range(3, 6):
            resumed, _ = train_step(resumed, batches[n])
    assert bits(resumed) == bits(state)
    assert "train_step" not in " ".join(compiled)


def damaged_copies(path):
    """Damages each file of a checkpoint in each way, one at a time; yields which."""
    for file in sorted(file for file in path.rglob("*") if file.is_file()):
        whole = file.read_bytes()
        flipped = whole[: len(whole) // 2] + bytes([whole[len(whole) // 2] ^ 1]) + whole[len(whole) // 2 + 1 :]
        for content in (None, b"", whole[:-1], flipped, b"\xff\x00garbage" * 9):
            if content is None:
                file.unlink()
            else:
                file.write_bytes(content)
            yield file
        file.write_bytes(whole)


def test_any_damaged_file_makes_the_one_before_it_the_latest_and_that_is_said(tmp_path, monkeypatch):
    warnings = []
    monkeypatch.setattr(logging, "warning", lambda message, *args: warnings.append(message % args))
    older, newer = (save(tmp_path, everything(n), {"n": n}) for n in range(2))
    for file in damaged_copies(newer):
        checkpoint = latest(tmp_path)
        assert (checkpoint.path, checkpoint.metadata) == (older, {"n": 0})
        (said,) = checkpoint.damaged
        assert str(newer) in said and (file.name in said or file.name == "SHA256SUMS")
        assert said in warnings.pop()
    assert latest(tmp_path) == (newer, {"n": 1}, ())  # the last file was put back
    (newer / "SHA256SUMS").unlink()
    assert bits(restore(latest(tmp_path), everything())) == bits(everything(0))
    # A new checkpoint neither overwrites nor trips over a damaged one.
    assert latest(tmp_path).path == older != save(tmp_path, everything(2), {"n": 2}) == latest(tmp_path).path


def test_no_checkpoint_is_an_error_that_says_why(tmp_path):
    with pytest.raises(FileNotFoundError, match=f"no checkpoint in {tmp_path}/nowhere"):
        latest(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match=f"no checkpoint in {tmp_path}"):
        latest(tmp_path)
    shutil.rmtree(save(tmp_path, everything(), {}) / "arrays")
    with pytest.raises(FileNotFoundError, match="no intact checkpoint in (.|\n)*000001: arrays/.* is not as it was"):
        latest(tmp_path)


@pytest.mark.parametrize(
    "change, message",
    [
        (
            {"params": Pair(jnp.zeros((3, 5)), [jnp.zeros(2, jnp.bfloat16)])},
            r"\['params'\]\.left to be float32\[3, 5\], found float32\[3, 4\]",
        ),
        ({"flag": jnp.array(1.0)}, r"\['flag'\] to be float32\[\], found bool\[\]"),
        ({"key": jax.random.key(0, impl="rbg")}, r"\['key'\] to be uint32\[4\], found uint32\[2\]"),
        ({"more": jnp.zeros(1)}, r"\['more'\] to be float32\[1\], found absent"),
        ({"nothing": None}, None),
        ({"special": None}, r"\['special'\] to be absent, found float32\[3\]"),
    ],
)
def test_another_structure_is_refused_by_the_first_leaf_that_differs(tmp_path, change, message):
    save(tmp_path, everything(), {})
    if message is None:
        restore(latest(tmp_path), everything() | change)  # what holds no array makes no difference
    else:
        with pytest.raises(ValueError, match=message):
            restore(latest(tmp_path), everything() | change)


KILL_AT_CHANGES = """
import os, signal, sys
import numpy as np
from seqjax.training.checkpoint import latest, save

folder = sys.argv[1]

def save_in_child(n, changes_before_kill):
    child = os.fork()
    if not child:
        changes = 0
        def kill(event, args):
            nonlocal changes
            if event in ("os.mkdir", "os.rename", "os.remove", "os.rmdir"):
                changes += 1
                if changes > changes_before_kill:
                    os.kill(os.getpid(), signal.SIGKILL)
        sys.addaudithook(kill)
        save(folder, {"n": np.int64(n)}, {"n": n}, keep=1)
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    assert status in (0, signal.SIGKILL), status
    return status == signal.SIGKILL

killed, n = True, 0
save_in_child(0, 999)
while killed:
    killed = save_in_child(n + 1, changes_before_kill=2 * n)
    checkpoint = latest(folder)
    assert checkpoint.metadata["n"] in (n, n + 1) and not checkpoint.damaged, checkpoint
    save_in_child(n + 1, 999)
    assert latest(folder).metadata["n"] == n + 1 and len(os.listdir(folder)) == 1, os.listdir(folder)
    n += 1
print(n)
"""


def test_a_process_killed_while_it_saves_leaves_an_intact_latest(tmp_path):
    # In a process of its own, which starts no thread and no backend before it forks.
    command = [sys.executable, "-W", "ignore", "-c", KILL_AT_CHANGES, str(tmp_path / "run")]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"JAX_PLATFORMS": "cpu"})
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 5
