"""Two devices against one: a process of two CPU devices trains what a process of one does."""

import json
import os
import subprocess
import sys

import jax
import numpy as np
import pytest

from seqjax.devices.mesh import data_mesh, on_first_device, one_device_per_core, replicate, shard

PROGRAM = """
import json, sys
import jax, jax.numpy as jnp, numpy as np, optax
import seqjax
from seqjax import devices
from seqjax.training import init_train_state, make_train_step

devices.one_device_per_core(int(sys.argv[1]))
jax.config.update("jax_enable_x64", True)
cells = {"lstm": seqjax.lstm(8), "gru": seqjax.gru(8), "simple_rnn": seqjax.simple_rnn(8)}
compiled = []
jax.monitoring.register_event_duration_secs_listener(
    lambda event, seconds, **what: compiled.append((event, what.get("fun_name")))
)
results = {}
for name, cell in cells.items():
    def loss_fn(params, carry, batch, key):
        xs, lengths = batch
        carry, ys = seqjax.unroll(cell, params, xs, lengths=lengths, initial_state=carry)
        return jnp.mean(ys**2), (carry, {})
    params = jax.tree.map(lambda x: x.astype(jnp.float64), cell.init(jax.random.key(0), input_size=3))
    optimizer = optax.sgd(0.5)
    state = init_train_state(params, optimizer, cell.initial_state(params, (4,)), jax.random.key(1))
    step = make_train_step(loss_fn, optimizer)
    mesh = devices.data_mesh(np.zeros(4))
    state = devices.replicate(mesh, state)._replace(carry=devices.shard(mesh, state.carry))
    for i in range(3):
        xs = np.random.default_rng(i).normal(size=(4, 6, 3))
        state, metrics = step(state, devices.shard(mesh, (xs, np.array([6, 0, 3, 5]))))
    leaves = jax.tree.leaves(devices.on_first_device(mesh, (state.params, state.carry)))
    results[name] = [mesh.size, [np.asarray(leaf).ravel().tolist() for leaf in leaves]]
print(json.dumps([compiled.count(("/jax/core/compile/backend_compile_duration", "jit(train_step)")), results]))
"""


THREADS = """
import json, os
import jax, jax.numpy as jnp
from seqjax import devices

threads = lambda: {thread: os.sched_getscheduler(int(thread)) for thread in os.listdir("/proc/self/task")}
before = threads()
devices.one_device_per_core(2)
xs = devices.shard(devices.data_mesh(jnp.ones(2)), jnp.ones((2, 3)))
jax.block_until_ready(jax.jit(jnp.sin)(xs))
print(json.dumps([policy for thread, policy in threads().items() if thread not in before]))
"""


def run(devices):
    done = subprocess.run([sys.executable, "-c", PROGRAM, str(devices)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_two_devices_train_what_one_does():
    (one_compiled, one), (two_compiled, two) = run(1), run(2)
    assert one_compiled == two_compiled == len(one)  # one step a cell, compiled once
    for name, (size, leaves) in two.items():
        assert (size, one[name][0]) == (2, 1)
        for expected, got in zip(one[name][1], leaves, strict=True):
            np.testing.assert_allclose(got, expected, rtol=1e-12, atol=1e-14)


def test_cores_are_those_that_the_process_may_use(monkeypatch):
    def refuse(*args):
        raise PermissionError

    told = []
    monkeypatch.setattr(jax.config, "update", lambda name, value: told.append((name, value)))
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    monkeypatch.setattr(os, "sched_setscheduler", refuse, raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {2, 5, 7}, raising=False)
    one_device_per_core()
    monkeypatch.delattr(os, "sched_getaffinity")  # macOS and Windows have none
    one_device_per_core()
    one_device_per_core(2)
    assert told == [("jax_num_cpu_devices", cores) for cores in (3, 8, 2)]


@pytest.mark.skipif(not hasattr(os, "SCHED_BATCH"), reason="only Linux has the SCHED_BATCH policy")
@pytest.mark.parametrize("given, kept", [("SCHED_OTHER", "SCHED_BATCH"), ("SCHED_IDLE", "SCHED_IDLE")])
def test_the_threads_of_devices_are_a_batch_unless_the_process_is_something_else(given, kept):
    policy = getattr(os, given)
    program = f"import os; os.sched_setscheduler(0, {policy}, os.sched_param(0))\n{THREADS}"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert set(json.loads(done.stdout)) == {getattr(os, kept)}


def test_a_mesh_is_as_large_as_the_batch_allows():
    count = len(jax.devices())
    assert data_mesh({"rate": 0.5, "xs": np.zeros((count, 3))}).size == count
    assert data_mesh((np.zeros(12 * count), np.zeros(1))).size == 1


def test_scalars_are_copied_and_arrays_cut():
    batch = {"rate": np.float32(0.5), "xs": np.arange(6).reshape(2, 3)}
    mesh = data_mesh(batch)
    placed = shard(mesh, batch)
    assert placed["rate"] == 0.5
    np.testing.assert_array_equal(placed["xs"], batch["xs"])
    copied = replicate(mesh, placed)
    assert copied["xs"].sharding.is_fully_replicated
    np.testing.assert_array_equal(on_first_device(mesh, copied)["xs"], batch["xs"])


def test_wrong_arguments_are_named():
    with pytest.raises(ValueError, match="cores: expected at least 1, got 0"):
        one_device_per_core(0)
