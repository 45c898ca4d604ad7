"""Drawing as a user does it: a tiny run on a file of drawings, another sheet, and mistakes."""

import json
import xml.etree.ElementTree as ElementTree

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.scipy.stats import multivariate_normal

from experiments import draw
from experiments.harness.errors import UsageError
from seqjax import data

Image = pytest.importorskip("PIL.Image")

TINY = ["--hidden_size=8", "--components=2", "--batch_size=8", "--buckets=1", "--epochs=0.5", "--drawings=3"]
FEW = ["--points=12", "--warmup_steps=2"]


def staircase(number):
    """A drawing of a few strokes, each a staircase, as a line of QuickDraw."""
    rng = np.random.default_rng(number)
    drawing = []
    for stroke in range(2 + number % 2):
        x = np.cumsum(rng.integers(1, 20, 4)) + 30 * stroke
        drawing.append([x.tolist(), (255 - x // 2).tolist()])
    return json.dumps({"word": "stairs", "key_id": str(number), "drawing": drawing})


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("file") / "stairs.ndjson"
    path.write_text("".join(staircase(number) + "\n" for number in range(120)))
    return path


@pytest.fixture(scope="module")
def run(file, tmp_path_factory, run_experiment):
    folder = tmp_path_factory.mktemp("runs") / "run"
    run_experiment(draw, f"--ndjson={file}", f"--run_folder={folder}", "--condition=strokes", *TINY, *FEW)
    return folder


def test_a_run_scores_points_and_draws(run):
    result = json.loads((run / "result.json").read_text())
    assert set(result["scores"]) == {"nats per point"}
    assert len(result["baselines"]) == 3 and all(name.startswith("nats per point, ") for name in result["baselines"])
    for name in ("sheet", "densities", "saliency"):
        with Image.open(run / f"{name}.png") as picture:
            pixels = np.asarray(picture.convert("L"))
        assert min(pixels.shape) > 300 and pixels.min() < 60 < 250 < pixels.max()
    root = ElementTree.parse(run / "sheet.svg").getroot()
    paths = [path.get("d") for path in root.iter("{http://www.w3.org/2000/svg}path") if path.get("clip-path")]
    assert sum(path.count("L") == 3 for path in paths) >= 6  # the strokes of the real drawings have four points
    lines = next(iter(sorted((run / "samples").iterdir()))).read_text().splitlines()
    assert all(set(line) <= {" ", *map(chr, range(0x2800, 0x2900))} for line in lines)


def test_other_sheets_are_drawn_from_the_run_folder(run, run_experiment, capsys):
    svg = [(run / "sheet.svg").read_bytes()]
    for flags in (["--seed=1"], ["--prefix=stairs", "--prefix_strokes=1", "--strokes=2"]):
        run_experiment(draw, f"--run_folder={run}", "--sample_only", *flags)
        assert "3 drawings are in" in capsys.readouterr().out
        ElementTree.parse(run / "sheet.svg")
        svg.append((run / "sheet.svg").read_bytes())
    assert len(set(svg)) == 3


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--prefix=cat"], "--prefix=cat: expected the name of a drawing in the data, found none"),
        (
            ["--prefix=stairs", "--prefix_strokes=4"],
            r"--prefix_strokes=4: expected fewer than the \d strokes of --prefix",
        ),
    ],
)
def test_a_prefix_that_cannot_be_given_is_refused(flags, message, run, run_experiment):
    with pytest.raises(UsageError, match=message):
        run_experiment(draw, f"--run_folder={run}", "--sample_only", *flags)


def test_a_number_of_strokes_needs_a_model_that_knows_it(file, run_experiment):
    with pytest.raises(UsageError, match="--strokes=3: expected a model with --condition=strokes"):
        run_experiment(draw, f"--ndjson={file}", "--strokes=3")


@pytest.fixture(scope="module")
def pen():
    frame = data.StrokeFrame(np.array([100.0, 50.0]), unit=4.0, grid=0.0)
    return draw.make_pen(draw.Settings(hidden_size=8, components=1), frame, most_strokes=3)


@pytest.fixture(scope="module")
def params(pen):
    return pen.model.init(jax.random.key(0), jnp.zeros((1, 1, 4)), jnp.ones(1, int))


def test_the_loss_is_in_units_of_the_data(pen, params):
    moves = np.array([[3.0, -2.0, 0, 0], [8.0, 1.0, 1, 1]])
    scaled = (moves / [4, 4, 1, 1]).astype(np.float32)[None]
    batch = data.StrokeBatch(scaled, scaled, np.array([2], np.int32))
    loss, _ = draw.make_loss(pen)(params, (), batch, None)
    found = pen.family.parameters(pen.model.apply(params, jnp.asarray(scaled), jnp.array([2]))[0])
    nats = 0.0
    for t in range(2):  # the one Gaussian of each step, written in units of the data
        end, _, mean, scale, correlation = jax.tree.map(lambda leaf, t=t: leaf[t], found.movement)
        (across, up), r = 4 * scale[0], jnp.tanh(correlation[0])
        covariance = jnp.array([[across**2, r * across * up], [r * across * up, up**2]])
        nats -= multivariate_normal.logpdf(moves[t, :2], 4 * mean[0], covariance)
        nats -= jnp.log(jax.nn.sigmoid(end if moves[t, 2] else -end))
    nats -= jnp.log(jax.nn.sigmoid(found.last.logit[1]))
    np.testing.assert_allclose(loss, nats / 2, rtol=1e-5)


def test_a_drawing_continues_its_prefix_until_it_ends(pen, params):
    settings = draw.Settings(hidden_size=8, components=1, points=7, bias=0.0)
    prefix = np.array([[90.0, 60.0, 0], [95.0, 61.0, 1]])
    never = jax.tree.map(jnp.array, params)
    never["params"]["output"]["bias"] = never["params"]["output"]["bias"].at[1].set(-50.0)  # no stroke ends
    always = jax.tree.map(jnp.array, params)
    always["params"]["output"]["bias"] = always["params"]["output"]["bias"].at[:2].set(50.0)  # all end at once
    artist = draw.make_artist(pen, settings)
    for which, length in ((never, 7), (always, 1)):
        drawn = artist(which, jax.random.key(1), [2, 3], prefix)
        assert [len(points) for points in drawn] == [2 + length] * 2
        for points in drawn:
            np.testing.assert_allclose(points[:2], prefix, atol=1e-4)
        assert abs(drawn[0][2:] - drawn[1][2:]).max() > 0
    assert len(artist(always, jax.random.key(1), [1])[0]) == 1


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([], "expected a drawing per line, got an empty file"),
        ([staircase(0), "{"], "line 2: expected JSON, got '{'"),
        ([staircase(0), '{"drawing": []}'], "line 2: expected at least one stroke, got none"),
        ([staircase(0)], "empty: too few drawings .1. to split"),
    ],
)
def test_a_file_that_cannot_be_used_is_named(lines, message, tmp_path, run_experiment):
    path = tmp_path / "bad.ndjson"
    path.write_text("\n".join(lines))
    with pytest.raises(UsageError, match=f"--ndjson={path}: .*{message}") as raised:
        run_experiment(draw, f"--ndjson={path}")
    assert "\n" not in str(raised.value)


def test_the_part_of_a_drawing_does_not_depend_on_the_others(file, tmp_path):
    few = tmp_path / "few.ndjson"
    few.write_text("\n".join(file.read_text().splitlines()[20:]))
    whole, some = (draw.read_splits(draw.Settings(ndjson=str(path))) for path in (file, few))
    for part, of_some in zip(whole, some, strict=True):
        assert {drawing.key for drawing in of_some} == {d.key for d in part} - set(map(str, range(20)))
