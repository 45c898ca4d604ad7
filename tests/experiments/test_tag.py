"""Tagging as a user runs it: a tiny run on a tiny data set, with and without a field, resumed; and its baselines."""

import json
import shutil
from functools import partial

import numpy as np
import pytest
import tensorflow_datasets as tfds

from experiments import tag
from experiments.baselines import most_frequent_tag, perceptron
from seqjax.data import TaggedSentence
from seqjax.training import checkpoint

TINY = [
    *("--hidden_size=16", "--word_size=8", "--letter_size=8", "--letters_hidden_size=8", "--batch_size=16"),
    *(
        "--cell=simple_rnn",
        "--buckets=1",
        "--warmup_steps=5",
        "--dropout=0.1",
        "--learning_rate=2e-2",
        "--words=tokens",
        "--tags=pos",
    ),
]
SUBJECTS = ["dogs", "cats", "birds", "hounds"]


def sentence(number):
    """What ends in s is a noun, and so is "run" where "the" goes before it."""
    subject = SUBJECTS[number % 4] if number % 7 else f"w{number}s"
    if number % 2:
        return [subject, "run", "to", subject], ["noun", "verb", "preposition", "noun"]
    return ["the", "run", "of", subject], ["article", "noun", "preposition", "noun"]


class Small(tfds.core.GeneratorBasedBuilder):
    """Sentences in the shape of conll2003."""

    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
        names = ["article", "noun", "preposition", "verb"]
        return tfds.core.DatasetInfo(
            builder=self,
            features=tfds.features.FeaturesDict(
                {
                    "tokens": tfds.features.Sequence(tfds.features.Text()),
                    "pos": tfds.features.Sequence(tfds.features.ClassLabel(names=names)),
                }
            ),
        )

    def _split_generators(self, dl_manager):
        parts = {"train": range(640), "validation": range(1000, 1016), "test": range(2000, 2032)}
        return {part: self._generate_examples(numbers) for part, numbers in parts.items()}

    def _generate_examples(self, numbers):
        for number in numbers:
            words, tags = sentence(number)
            yield number, {"tokens": words, "pos": tags}


@pytest.fixture(scope="module", autouse=True)
def small(tmp_path_factory):
    data_dir = tmp_path_factory.mktemp("data")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tag.datasets, "builder", lambda name: Small(data_dir=data_dir))
        yield


@pytest.fixture(scope="module")
def run_main(run_experiment):
    return partial(run_experiment, tag)


@pytest.fixture(scope="module")
def finished(tmp_path_factory, run_main):
    """The folder of a run that chooses its tags together."""
    folder = tmp_path_factory.mktemp("runs") / "finished"
    run_main(f"--run_folder={folder}", *TINY, "--crf", "--epochs=1", "--perceptron", "--checkpoint_every=15")
    return folder


def check_result(folder):
    result = json.loads((folder / "result.json").read_text())
    assert set(result["scores"]) == {"% accuracy", "% accuracy on unknown words"}
    assert result["scores"]["% accuracy"] > result["baselines"]["% accuracy, most frequent tag"]
    assert result["scores"]["% accuracy"] > 90
    return result


def test_run_learns_and_leaves_all_there_is_to_see(finished):
    result = check_result(finished)
    assert "chosen jointly" in result["task"]
    assert len(result["baselines"]) == 4
    for figure in ("learning_curve.png", "confusion.png"):
        assert (finished / figure).stat().st_size > 1000
    first, *_, last = sorted((finished / "samples").iterdir())
    assert first.read_text().count("[") > last.read_text().count("[")
    assert "/verb" in last.read_text()


def test_resumed_equals_unbroken(finished, tmp_path, run_main):
    folder = shutil.copytree(finished, tmp_path / "resumed")
    newest = checkpoint.latest(folder / "checkpoints").path
    shutil.rmtree(newest)
    run_main(f"--run_folder={folder}", "--resume", "--checkpoint_every=15")
    assert checkpoint.latest(folder / "checkpoints").path.name == newest.name
    expected, got = (json.loads((run / "result.json").read_text())["scores"] for run in (finished, folder))
    assert got == expected
    rows = [(run / "metrics.csv").read_text().splitlines() for run in (finished, folder)]
    values = [[line.split(",")[2:] for line in lines] for lines in rows]
    assert values[0] == values[1]


def test_each_tag_by_itself(tmp_path, run_main):
    run_main(f"--run_folder={tmp_path / 'run'}", *TINY, "--epochs=1")
    assert "chosen jointly" not in check_result(tmp_path / "run")["task"]


def test_accuracy_counts_words_and_those_unknown_to_training():
    sentences = [TaggedSentence(("a", "b"), ("X", "Y")), TaggedSentence(("c", "d", "e"), ("X", "X", "Y"))]
    scores = tag.accuracies([["X", "X"], ["X", "Y", "Y"]], sentences, {"a", "b", "e"})
    assert scores == {"accuracy": pytest.approx(60), "accuracy on unknown words": pytest.approx(50)}
    assert np.isnan(tag.accuracies([["X", "Y"]], sentences[:1], {"a", "b"})["accuracy on unknown words"])


def test_most_frequent_tags():
    train = [TaggedSentence(("run", "a", "run"), ("verb", "article", "noun")), TaggedSentence(("run",), ("noun",))]
    assert most_frequent_tag.most_frequent_tags(train, [["a", "run", "new"]]) == [["article", "noun", "noun"]]


def test_a_sentence_shows_what_is_wrong():
    assert tag.describe(TaggedSentence(("I", "run"), ("P", "V")), ["P", "N"]) == "I/P run/N[V]"


def test_confusions_are_of_the_tags_with_most_mistakes():
    sentences = [TaggedSentence(("w",) * 6, tuple("AABBCD"))]
    figure = tag.confusion_figure([list("ABCDCD")], sentences, count=2)
    axes = figure.axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["A (2)", "B (2)"]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["A", "B", "other"]
    shown = {(*text.get_position(),): text.get_text() for text in axes.texts}
    assert shown == {(0, 0): "50", (1, 0): "50", (2, 1): "100"}


def test_perceptron_is_the_mean_of_all_its_steps():
    """Against weights kept one by one and added up after each word."""
    train = [TaggedSentence(*map(tuple, sentence(number))) for number in (1, 2, 3, 4, 2, 3)]
    tagger = perceptron.train(train, epochs=2, seed=0)
    frequent = set(tagger.row)
    weights, totals, steps = {}, {}, 0
    for epoch in range(2):
        for number in np.random.default_rng((0, epoch)).permutation(len(train)):
            words, tags = train[number]
            before = [*perceptron.START]
            for word, features, right in zip(words, perceptron.word_features(words), tags, strict=True):
                features = features + perceptron.tag_features(perceptron.normalize(word), *before[-2:])
                features = [feature for feature in features if feature in frequent]
                score = {t: sum(weights.get((f, t), 0) for f in features) for t in tagger.tags}
                best = max(tagger.tags, key=score.get)
                if best != right:
                    for feature in features:
                        weights[feature, right] = weights.get((feature, right), 0) + 1
                        weights[feature, best] = weights.get((feature, best), 0) - 1
                before.append(best)
                steps += 1
                totals = {key: totals.get(key, 0) + weights.get(key, 0) for key in totals.keys() | weights.keys()}
    expected = [[totals.get((feature, t), 0) / steps for t in tagger.tags] for feature in tagger.row]
    assert np.any(expected)
    np.testing.assert_allclose(tagger.weights, expected, atol=1e-5)
    assert tagger.tag(["the", "run", "of", "hounds"]) == ["article", "noun", "preposition", "noun"]
