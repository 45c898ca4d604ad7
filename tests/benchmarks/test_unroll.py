"""What the benchmark of unrolled layers compares must be the same work; how fast it is, no test says."""

import importlib.util
import os

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from absl import flags

from benchmarks import turns, unroll, unroll_jax, unroll_work
from benchmarks.unroll_work import GATES, Sizes

SIZES = Sizes(batch=2, steps=5, inputs=3, hidden=4)
IN_JAX = [name for name, library in unroll.LIBRARIES.items() if library.what is None and name != "torch"]


@pytest.fixture(params=IN_JAX)
def name(request):
    if importlib.util.find_spec(unroll.LIBRARIES[request.param].package) is None:
        pytest.skip(f"{request.param} is not installed: pip install -e .[benchmarks]")
    return request.param


def test_every_layer_has_the_same_products(name):
    for cell in unroll.LIBRARIES[name].cells:

        def outputs(xs, cell=cell):
            params, apply = unroll_jax.LAYERS[name](cell, SIZES)
            return params, apply(params, xs)

        params, ys = jax.eval_shape(outputs, jax.ShapeDtypeStruct((2, 5, 3), jnp.float32))
        assert ys.shape == (2, 5, 4)
        kernels = [leaf.size for leaf in jax.tree.leaves(params) if leaf.ndim == 2 and min(leaf.shape) > 2]
        assert sum(kernels) == GATES[cell] * 4 * (3 + 4)


def test_gradients_flow_from_the_last_step_of_a_row_to_its_first(name):
    function, (params, xs, cotangents) = unroll_jax.work(what=name, cell="lstm", sizes=SIZES, gradient=True)
    assert cotangents.shape == (2, 5, 4)
    ys, (of_params, of_xs) = jax.jit(function)(params, xs, jnp.zeros((2, 5, 4)).at[0, -1].set(1.0))
    assert ys.shape == (2, 5, 4)
    assert all(np.isfinite(leaf).all() and np.any(leaf) for leaf in jax.tree.leaves(of_params))
    np.testing.assert_array_equal(np.asarray(of_xs != 0).all(axis=-1), [[True] * 5, [False] * 5])


@pytest.mark.parametrize("cell", GATES)
@pytest.mark.parametrize("batch", [1, 2])
def test_products_alone_are_all_of_a_layer_and_wait_for_one_another(cell, batch):
    function, args = unroll_jax.work(what="layer_products", cell=cell, sizes=SIZES._replace(batch=batch), gradient=True)
    w, u, xs, hs, d_zs = args
    results = last_h, first_d_h, d_w, d_u, d_xs = jax.jit(function)(*args)
    width = GATES[cell] * 4
    assert [a.shape for a in results] == [(batch, 4), (batch, 4), (3, width), (4, width), (5, batch, 3)]
    np.testing.assert_allclose(d_w, np.einsum("tbi,tbg->ig", xs, d_zs), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(d_u, np.einsum("tbh,tbg->hg", hs, d_zs), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(d_xs, np.einsum("tbg,ig->tbi", d_zs, w), rtol=1e-4, atol=1e-5)
    changed = jax.jit(function)(w, u, xs.at[0].add(1), hs, d_zs.at[-1].add(1))
    assert np.all(changed[0] != last_h) and np.all(changed[1] != first_d_h)


@pytest.mark.parametrize("cell", unroll.LIBRARIES["torch"].cells)
def test_torch_does_the_same(cell):
    pytest.importorskip("torch")
    from benchmarks import unroll_torch

    (ys,) = unroll_torch.work(what="torch", cell=cell, sizes=SIZES, gradient=False)()
    ys_too, of_xs, *of_params = unroll_torch.work(what="torch", cell=cell, sizes=SIZES, gradient=True)()
    assert ys.shape == ys_too.shape == (2, 5, 4) and of_xs.shape == (2, 5, 3)
    assert all(leaf.isfinite().all() and leaf.any() for leaf in (of_xs, *of_params))
    assert sum(leaf.numel() for leaf in of_params if leaf.ndim == 2) == GATES[cell] * 4 * (3 + 4)


def test_random_lengths_are_the_same_for_both():
    torch = pytest.importorskip("torch")
    from benchmarks import unroll_torch

    padding = np.arange(5) >= unroll_work.random_lengths(SIZES)[:, None]
    assert padding.any()
    function, args = unroll_jax.work(what="seqjax_random_lengths", cell="lstm", sizes=SIZES, gradient=False)
    theirs = unroll_torch.work(what="torch_random_lengths", cell="lstm", sizes=SIZES, gradient=True)()
    for ys in jax.jit(function)(*args), theirs[0].detach():
        np.testing.assert_array_equal((np.asarray(ys) == 0).all(axis=-1), padding)
        assert ys.shape == (2, 5, 8)
    products = [leaf.size for leaf in jax.tree.leaves(args[0]) if leaf.ndim == 2]
    assert sum(products) == sum(leaf.numel() for leaf in theirs[2:] if leaf.ndim == 2)
    assert isinstance(theirs[1], torch.Tensor) and theirs[1].shape == (2, 5, 3)


def test_a_run_cuts_the_batch_among_the_devices_and_leaves_out_what_is_missing(monkeypatch):
    monkeypatch.setattr(turns, "PAUSE", 0.0)
    monkeypatch.setenv("JAX_NUM_CPU_DEVICES", "2")  # what is in the shell counts for none of them
    monkeypatch.setitem(unroll.LIBRARIES, "absent", unroll.Library("no_such_package", ("simple_rnn",)))
    said = []
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    points = [SIZES._replace(batch=rows) for rows in (2 * cores, 1)]
    measured = unroll.run(["simple_rnn"], points, ["seqjax_one_device", "absent"], 1, said.append)
    assert said[0] == "absent is not in the tables, because it is not installed."
    assert "jax " in said[1] and "GFLOP/s" in said[2] and f"| {2 * cores}, 5, 3, 4 |" in said[3]
    told = [each.told["seqjax"] for each in measured["simple_rnn", True].values()]
    assert [each["devices"] for each in told] == [cores, 1]
    assert {each.told["seqjax_one_device"]["devices"] for each in measured["simple_rnn", True].values()} == {1}
    assert all(each["compile"] > 0 for each in told)
    # inputs, outputs, the gradients of both, and parameters with theirs on each device
    assert told[0]["bytes"] >= 4 * 2 * cores * (2 * 5 * (3 + 4) + 4 * (3 + 4 + 1))


def synthetic(**seconds):
    told = {"seqjax": {"compile": 1.25, "bytes": 3e6}, "product": {"shape": [100, 100]}}
    return unroll.Measured(told, {name: np.array(each) for name, each in seconds.items()})


def test_tables_hold_medians_ratios_and_means():
    sizes = Sizes(1, 10, 50, 50)
    each = synthetic(
        seqjax=[0.1, 0.2, 0.9],
        torch=[0.2, 0.3, 0.9],
        haiku=[0.4, 0.8, 3.6],
        product=[0.1, 0.2, 0.9],
        layer_products=[0.05, 0.1, 0.45],
    )
    faster = synthetic(**dict.fromkeys(each.seconds, [0.1] * 3))
    points = {sizes: each, sizes._replace(batch=8): faster}
    names = ["seqjax", "torch", "keras", "haiku"]
    text = unroll.report_times("lstm", False, points, names)
    assert "| seqjax | share of matmul rate | compile time | matmuls alone | torch | haiku |" in text
    # 10 steps of a product of 100 by 200, beside one of 100 x 100 by 100
    assert "| 1, 10, 50, 50 | 200.0 | 20% | 1.2 s | 100.0 (0.50) | 300.0 (1.50) | 800.0 (4.00) |" in text
    assert "| geometric mean |  |  |  | 0.71 | 1.22 | 2.00 |" in text
    assert "| 200.0 | 60% |" in unroll.report_times("lstm", True, points, names)
    assert "| 1, 10, 50, 50 | 3.0 |" in unroll.report_memory("lstm", points, names)
    assert "| forward | 200.0 | 300.0 (1.50) |" in unroll.report_random_lengths(
        {gradient: synthetic(seqjax=[0.2], torch=[0.3]) for gradient in unroll.WORK}
    )


def test_time_linear_in_the_steps_has_exponent_1():
    linear = [synthetic(seqjax=[2e-6 * sizes.steps]) for sizes in unroll.GROWTH]
    text = unroll.report_growth({False: linear, True: linear})
    assert text.endswith("- forward with gradient: 2.00 us x T^1.000, off by 0% at most")
    assert "| forward | 0.20 | 0.60 | 2.00 | 6.00 | 20.00 |" in text
    assert unroll.growth([1, 10, 100], [3.0, 300.0, 30_000.0])[1] == pytest.approx(2)


def test_chart_has_a_bar_for_each_mean():
    points = {SIZES: synthetic(seqjax=[0.1], torch=[0.2])}
    without_torch = {SIZES: synthetic(seqjax=[0.1], haiku=[0.3])}
    measured = {(cell, g): each for cell, each in (("lstm", points), ("gru", without_torch)) for g in unroll.WORK}
    figure = unroll.chart(measured)
    for axes in figure.axes:
        heights = [bar.get_height() for bar in axes.patches if np.isfinite(bar.get_height())]
        assert heights == pytest.approx([2, 3])


def test_wrong_flags_are_refused_before_the_run():
    values = flags.FlagValues()
    unroll.define_flags(values)
    values(["unroll", "--peers=torch,keras"])
    assert values.peers == ["torch", "keras"] and values.points == list("012345")
    for wrong in "--cells=lstm,elman", "--points=6", "--peers=seqjax", "--chart=/no/such/folder/chart.png":
        with pytest.raises(flags.IllegalFlagValueError, match="expected names among|a folder that exists"):
            values(["unroll", wrong])
