"""Images drawn pixel by pixel: the baselines against plain loops, the pictures read back, and the script, tiny."""

import json
import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tensorflow_datasets as tfds

pytest.importorskip("sklearn")
pytest.importorskip("pyppmd")
mpl_image = pytest.importorskip("matplotlib.image")

from experiments import pixels  # noqa: E402
from experiments.baselines import binary_images  # noqa: E402

TINY = ["--hidden_size=4", "--reach=1", "--batch_size=4", "--epochs=2", "--warmup_steps=5", "--devices=1"]


@pytest.fixture(scope="module")
def run_main(run_experiment):
    return partial(run_experiment, pixels)


def stripes(rng, count, height=6):
    """Images of 5 columns whose rows are alternately full and empty."""
    rows = (np.arange(height) + rng.integers(2, size=(count, 1))) % 2
    return np.repeat(rows[..., None], 5, axis=-1).astype(np.uint8)


class Stripes(tfds.core.GeneratorBasedBuilder):
    """Striped images, gray (120) on white (135), as bytes of a fixed or unknown size and of one channel or more."""

    VERSION = tfds.core.Version("1.0.0")
    SHAPE = (6, 5, 1)

    def _info(self):
        image = tfds.features.Tensor(shape=self.SHAPE, dtype=np.uint8, encoding="zlib")
        return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict({"image": image}))

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples(200, 0), "test": self._generate_examples(20, 1)}

    def _generate_examples(self, count, seed):
        channels = self.SHAPE[-1] if len(self.SHAPE) == 3 else 1
        for number, image in enumerate(stripes(np.random.default_rng(seed), count, self.SHAPE[0] or 6)):
            bytes = np.repeat((120 + 15 * image)[..., None], channels, axis=-1)
            yield number, {"image": bytes if len(self.SHAPE) == 3 else bytes[..., 0]}


class Coloured(Stripes):
    """The same, with three channels."""

    SHAPE = (6, 5, 3)


class Taller(Stripes):
    """The same, with another row."""

    SHAPE = (7, 5)


class AnySize(Stripes):
    """The same, of no declared size."""

    SHAPE = (None, None, 1)


def test_baselines_by_plain_loops():
    rng = np.random.default_rng(0)
    train, test = rng.integers(2, size=(30, 3, 4), dtype=np.uint8), rng.integers(2, size=(5, 3, 4), dtype=np.uint8)
    template = ((-1, 0), (-1, 1), (0, -1))

    def context(image, row, column):
        places = [(row + r, column + c) for r, c in template]
        return tuple(int(image[r, c]) if r >= 0 and 0 <= c < 4 else 0 for r, c in places)

    places = [(row, column) for row in range(3) for column in range(4)]
    seen = [(context(image, *place), image[place]) for image in train for place in places]
    independent = after_neighbours = 0.0
    for image in test:
        for place in places:
            frequency = (sum(other[place] == image[place] for other in train) + 1) / (len(train) + 2)
            independent -= math.log2(frequency)
            colours = [colour for known, colour in seen if known == context(image, *place)]
            after_neighbours -= math.log2((colours.count(image[place]) + 0.5) / (len(colours) + 1))
    assert binary_images.independent_bits_per_pixel(train, test) == pytest.approx(independent / test.size)
    found = binary_images.frequency_bits_per_pixel(train, test, template)
    assert found == pytest.approx(after_neighbours / test.size)


def test_logistic_regression_finds_the_weights_that_made_the_images():
    rng = np.random.default_rng(0)
    images = np.zeros((300, 8, 8), np.uint8)
    bits = []
    for row in range(8):
        for column in range(8):
            above = images[:, row - 1, column] if row else 0
            left = images[:, row, column - 1] if column else 0
            ink = 1 / (1 + np.exp(1 - 2.0 * above - 1.5 * left))
            images[:, row, column] = rng.random(300) < ink
            bits.append(-np.log2(np.where(images[:, row, column] == 1, ink, 1 - ink)))
    found = binary_images.logistic_bits_per_pixel(images[:200], images[200:], ((-1, 0), (0, -1)))
    assert found == pytest.approx(np.mean(np.array(bits)[:, 200:]), rel=0.01)


@pytest.mark.parametrize("per_character", [1, 4, 7])
def test_packed_images_can_be_unpacked(per_character):
    images = np.random.default_rng(0).integers(2, size=(3, 2, 9), dtype=np.uint8)
    text = binary_images.packed(images, per_character)
    bits = "".join(f"{ord(character):0{per_character}b}" for character in text)
    width = len(bits) // 6
    assert width == -(-9 // per_character) * per_character
    rows = [[int(bit) for bit in bits[start : start + 9]] for start in range(0, len(bits), width)]
    np.testing.assert_array_equal(rows, images.reshape(6, 9))


def test_saliency_is_the_change_of_the_log_probability(x64):
    settings = pixels.Settings(hidden_size=16, reach=1)
    model = pixels.make_model(settings, 4, 3)
    image = jnp.array([0, 1, 1, 0, 1, 0, 1, 1, 0, 1, 0, 1], jnp.float64)
    params = jax.tree.map(lambda leaf: leaf.astype(jnp.float64), model.init(jax.random.key(1), image))
    place, prob, gradient = pixels.saliency(model, params, image)

    @jax.jit
    def log_prob(read):
        logit = model.apply(params, read)[place, 0]
        return -jnp.logaddexp(0.0, jnp.where(image[place] == 1, -logit, logit))

    assert place >= 6 and prob == pytest.approx(float(jnp.exp(log_prob(image))))
    assert gradient[:place].any() and not gradient[place:].any()  # only what is drawn before counts
    for pixel in range(int(place)):
        step = jnp.zeros(12).at[pixel].set(1e-4)
        difference = (log_prob(image + step) - log_prob(image - step)) / 2e-4
        assert gradient[pixel] == pytest.approx(float(difference), abs=1e-5)


def test_sheet_shows_what_is_given_in_black_and_what_is_drawn_in_blue(tmp_path):
    rng = np.random.default_rng(0)
    originals, drawn = stripes(rng, 2), stripes(rng, 5)
    completions = np.repeat(originals[:, None], 3, axis=1)
    figure = pixels.sheet_figure(originals, completions, drawn)
    above, below = figure.axes
    mosaic = above.images[0].get_array()
    assert mosaic.shape == (2 * 7, 5 * 6, 3)  # a gray line after each image
    for row, original in enumerate(originals):
        for column in range(5):
            cell = mosaic[7 * row : 7 * row + 6, 6 * column : 6 * column + 5]
            black, blue = (cell == pixels.BLACK).all(-1), (cell == pixels.BLUE).all(-1)
            upper = np.arange(6)[:, None] < 3
            np.testing.assert_array_equal(black, (original == 1) & (upper | (column == 0)))
            np.testing.assert_array_equal(blue, (original == 1) & ~upper & (column >= 2))
    assert (below.images[0].get_array()[:6, :5] == pixels.BLUE).all(-1).sum() == drawn[0].sum()
    assert {"original", "given", "completed by the model"} <= {text.get_text() for text in above.texts}
    figure.savefig(tmp_path / "sheet.png")
    shown = mpl_image.imread(tmp_path / "sheet.png")[..., :3]
    for colour in (pixels.BLACK, pixels.BLUE, pixels.PALE_BLUE):
        assert (np.abs(shown - colour).max(-1) < 0.01).sum() > 1000


def test_drawing_continues_what_is_given():
    model = pixels.make_model(pixels.Settings(hidden_size=4, reach=1), 3, 4)
    params = model.init(jax.random.key(0), jnp.zeros((1, 12)))
    given = np.array([[0, 1, 0, 0, 1], [1, 0, 0, 1, 0]], np.uint8)
    draw = pixels.make_draw(model)
    drawn = draw(params, jax.random.key(1), given, 8)
    assert drawn.shape == (2, 8, 3, 4) and set(drawn.flat) == {0, 1}
    assert len({image.tobytes() for image in drawn[0]}) > 4
    np.testing.assert_array_equal(drawn.reshape(2, 8, 12)[..., :5], np.repeat(given[:, None], 8, axis=1))
    params["params"]["output"]["bias"] = jnp.array([50.0])  # ink everywhere
    assert draw(params, jax.random.key(1), given, 8).reshape(2, 8, 12)[..., 5:].all()


def test_text_of_images():
    images = np.zeros((2, 4, 3), np.uint8)
    images[0, 0, 0] = images[0, 1, 1] = images[1, 2, 2] = images[1, 3, 2] = 1
    assert pixels.as_text(images) == "▀▄\n     █"


def test_a_run_scores_pixels_and_draws(tmp_path, run_main, monkeypatch, capsys):
    monkeypatch.setattr(pixels.datasets, "builder", lambda name: Stripes(data_dir=tmp_path / "data"))
    run = tmp_path / "run"
    run_main(f"--run_folder={run}", "--dataset=stripes", *TINY, "--learning_rate=5e-2")
    result = json.loads((run / "result.json").read_text())
    [score] = result["scores"].values()
    assert score < 0.3 < result["baselines"]["bits per pixel, independent pixels"]  # a pixel depends on its neighbours
    assert len(result["baselines"]) == 5
    for picture in ("learning_curve", "saliency", "completions"):
        assert (run / f"{picture}.png").stat().st_size > 1000
    assert {*max((run / "samples").iterdir()).read_text()} <= {*" ▄▀█\n"}
    first = (run / "completions.png").read_bytes()
    run_main(f"--run_folder={run}", "--dataset=stripes", "--sample_only", "--seed=3")
    assert (run / "completions.png").read_bytes() != first
    monkeypatch.setattr(pixels.datasets, "builder", lambda name: Taller(data_dir=tmp_path / "data"))
    with pytest.raises(ValueError, match="^--dataset=taller: expected images of 6 by 5 pixels, got 7 by 5"):
        run_main(f"--run_folder={run}", "--dataset=taller", "--sample_only")


@pytest.mark.parametrize("builder", [Coloured, AnySize])
def test_images_of_other_kinds_are_refused_in_one_line(builder, tmp_path, run_main, monkeypatch):
    monkeypatch.setattr(pixels.datasets, "builder", lambda name: builder(data_dir=tmp_path))
    with pytest.raises(ValueError, match="^--dataset=other: expected an 'image' of bytes, of one size and one channel"):
        run_main("--dataset=other")


def test_too_large_batches_are_refused(tmp_path, run_main, monkeypatch):
    monkeypatch.setattr(pixels.datasets, "builder", lambda name: Stripes(data_dir=tmp_path))
    with pytest.raises(ValueError, match=r"^--batch_size=500: expected at most 190 \(the training images\)"):
        run_main("--batch_size=500")


def test_saliency_figure_shows_gradients_over_what_is_drawn_already():
    images = stripes(np.random.default_rng(0), 2)
    gradients = np.random.default_rng(0).normal(size=(2, 30)) * (np.arange(30) < 17)
    found = [
        pixels.Saliency(np.array(17), np.array(prob), each) for prob, each in zip((0.25, 1), gradients, strict=True)
    ]
    figure = pixels.saliency_figure(images, found)
    for axes, gradient, image in zip(figure.axes, gradients, images, strict=False):
        shown, unknown = axes.images
        np.testing.assert_array_equal(shown.get_array(), gradient.reshape(6, 5))
        np.testing.assert_array_equal(unknown.get_array().mask.ravel(), np.arange(30) < 17)
        assert axes.patches[0].get_xy() == (2 - 0.5, 3 - 0.5)
        assert axes.get_title().startswith("box: ink" if image[3, 2] else "box: paper")
    assert figure.axes[0].get_title().endswith("probability 0.25")
    low, high = figure.axes[0].images[0].get_clim()
    assert high == -low == np.abs(gradients).max()
    figure.canvas.draw()
