"""The class of a text as a user runs it: tiny runs, resumed, from a language model, and given what does not fit."""

import itertools
import json
import shutil
import subprocess
import sys
from functools import partial

import numpy as np
import orbax.checkpoint as ocp
import pytest
import tensorflow_datasets as tfds

pytest.importorskip("sklearn")
pytest.importorskip("vaderSentiment")

from experiments import classify, language_model
from experiments.baselines import text_classifiers
from seqjax.data import LabelledSplits
from seqjax.training import checkpoint

TINY = [
    "--hidden_size=8",
    "--batch_size=16",
    "--buckets=1",
    "--warmup_steps=5",
    "--learning_rate=2e-2",
    "--dropout=0.1",
]
TEXTS = [" ".join(words) for words in itertools.product(["a", "the"], ["good", "bad"], ["film", "book", "day"], "!?")]


class ImdbReviews(tfds.core.GeneratorBasedBuilder):
    """Texts in the shape of `imdb_reviews`: no validation part, and one without labels."""

    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
        features = {"text": tfds.features.Text(), "label": tfds.features.ClassLabel(names=["neg", "pos"])}
        return tfds.core.DatasetInfo(
            builder=self, features=tfds.features.FeaturesDict(features), supervised_keys=("text", "label")
        )

    def _split_generators(self, dl_manager):
        return {
            "train": self._generate_examples(32 * TEXTS),
            "test": self._generate_examples([*TEXTS, ""]),
            "unsupervised": self._generate_examples(TEXTS, label=-1),
        }

    def _generate_examples(self, texts, label=None):
        for number, text in enumerate(texts):
            yield number, {"text": text, "label": int("good" in text) if label is None else label}


@pytest.fixture(scope="module", autouse=True)
def imdb_reviews(tmp_path_factory):
    data_dir = tmp_path_factory.mktemp("data")
    words = "good bad film book day the".split()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(classify.datasets, "builder", lambda name: ImdbReviews(data_dir=data_dir))
        vectors = {word: np.full(4, number, np.float32) for number, word in enumerate(words)}
        patch.setattr(classify, "read_vectors", lambda: vectors)
        yield


@pytest.fixture(scope="module")
def run_main(run_experiment):
    return partial(run_experiment, classify)


@pytest.fixture(scope="module")
def finished(tmp_path_factory, run_main):
    """The folder of a run that learned what good and bad are."""
    folder = tmp_path_factory.mktemp("runs") / "finished"
    run_main(f"--run_folder={folder}", *TINY, "--epochs=1", "--embedding_size=4", "--checkpoint_every=9")
    return folder


def arrays(folder):
    newest = checkpoint.latest(folder / "checkpoints")
    with ocp.Checkpointer(ocp.PyTreeCheckpointHandler()) as checkpointer:
        return checkpointer.restore(newest.path / "arrays")


def result(folder):
    return json.loads((folder / "result.json").read_text())


def test_a_folder_of_texts_is_classified(tmp_path, run_main, capsys):
    for number, text in enumerate(TEXTS):
        path = tmp_path / "texts" / ("good" if "good" in text else "bad") / f"{number}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    arguments = [f"--folder={tmp_path / 'texts'}", f"--run_folder={tmp_path / 'run'}", "--embedding_size=4"]
    run_main(*arguments, *TINY, "--epochs=1")
    assert "Texts: 20 train, 2 validation, 2 test. Classes: bad, good." in capsys.readouterr().out
    assert result(tmp_path / "run")["task"] == "classification, texts, 2 test texts"


def test_less_than_a_step_is_refused(run_main):
    with pytest.raises(ValueError, match="^--epochs=0.001: expected enough for at least one batch"):
        run_main(*TINY, "--epochs=0.001", "--embedding_size=4")


def test_help_tells_of_the_flags_that_scripts_share():
    command = [sys.executable, "-m", "experiments.chorales", "--help"]  # whose own script defines none of these
    shown = subprocess.run(command, capture_output=True, text=True).stdout
    for flag in ("--dataset=chorales", "--prompt=", "--epochs=1.5", "--cell=lstm", "--record=", "--[no]resume"):
        assert flag in shown


def test_what_is_no_flag_is_refused():
    command = [sys.executable, "-m", "experiments.classify", "sentiment/movie_reviews"]
    ran = subprocess.run(command, capture_output=True, text=True)
    assert ran.returncode == 2
    assert ran.stderr.startswith("classify: sentiment/movie_reviews: expected flags only")
    assert ran.stderr.count("\n") == 1 and not ran.stdout


def test_run_learns_and_leaves_all_there_is_to_see(finished):
    found = result(finished)
    assert found["scores"]["accuracy"] > 0.95 < found["scores"]["macro F1"]  # all, but perhaps the empty text
    baselines = found["baselines"]
    assert {name.partition(", ")[2] for name in baselines} == {
        "most frequent class",
        "logistic regression on TF-IDF of words",
        "logistic regression on TF-IDF of letters",
        "VADER",
    }
    assert baselines["accuracy, VADER"] > 0.9 > 0.6 > baselines["accuracy, most frequent class"]
    for figure in ("learning_curve.png", "saliency.png"):
        assert (finished / figure).stat().st_size > 1000
    *_, last = sorted((finished / "samples").iterdir())
    assert all(line.split(" ")[0] in ("neg", "pos") for line in last.read_text().splitlines())


def test_resumed_equals_unbroken(finished, tmp_path, run_main):
    folder = shutil.copytree(finished, tmp_path / "killed")
    shutil.rmtree(checkpoint.latest(folder / "checkpoints").path)  # what remains is the checkpoint before
    run_main(f"--run_folder={folder}", "--resume")
    expected, got = arrays(finished), arrays(folder)
    assert expected.keys() == got.keys()
    assert all(np.array_equal(expected[name], got[name]) for name in expected)
    assert result(folder)["scores"] == result(finished)["scores"]
    with pytest.raises(ValueError, match="--pooling=attention: the run in .* has max"):
        run_main(f"--run_folder={folder}", "--resume", "--pooling=attention")


def test_words_start_from_their_vectors():
    settings = classify.Settings(
        units="words", max_length=9, word_vectors=True, embedding_size=4, cell="gru", hidden_size=2, layers=1,
        batch_size=2, buckets=1, epochs=1, learning_rate=1.0, warmup_steps=0, weight_decay=0.0, dropout=0.0, seed=0,
    )  # fmt: skip
    task = classify.make_task(settings, LabelledSplits(*[[("a good film a", 1), ("once", 0)]] * 3), ["neg", "pos"])
    vocabulary = task.symbols["vocabulary"]
    assert set(vocabulary[4:]) == {"a", "good", "bad", "film", "book", "day", "the"}  # not "once"
    table = task.objective.init(classify.jax.random.key(0))[0]["params"]["embedding"]["embedding"]
    assert table[vocabulary.index("film")].tolist() == [2.0] * 4
    assert len(set(table[vocabulary.index("a")].tolist())) == 4


def test_from_a_language_model(tmp_path, run_main, run_experiment):
    text = tmp_path / "text.txt"
    text.write_text("the good film, the bad day, a book? " * 30)
    of_model = ["--hidden_size=6", "--cell=gru", "--layers=2"]
    run_experiment(language_model, f"--text={text}", f"--run_folder={tmp_path / 'lm'}", *of_model, "--batch_size=4",
                   "--length=8", "--epochs=0.1", "--characters=3")  # fmt: skip
    trained = language_model.load(tmp_path / "lm")
    arguments = [f"--start_from={tmp_path / 'lm'}", f"--run_folder={tmp_path / 'run'}"]
    arguments += [flag for flag in TINY if not flag.startswith("--hidden_size")]  # the language model's counts
    run_main(*arguments, "--epochs=0.1", "--learning_rate=0", "--weight_decay=0", "--pooling=attention")
    metadata = checkpoint.latest(tmp_path / "run" / "checkpoints").metadata
    assert metadata["vocabulary"] == trained.vocabulary.to_list()
    assert {name: metadata["settings"][name] for name in ("cell", "hidden_size", "layers", "units")} == {
        "cell": "gru", "hidden_size": 6, "layers": 2, "units": "characters"
    }  # fmt: skip
    got = arrays(tmp_path / "run")
    for layer, params in trained.params["params"]["recurrent"].items():
        for name in ("input_kernel", "recurrent_kernel"):
            value = params[name]
            assert any(np.array_equal(value, array) for key, array in got.items() if layer in key and name in key)
    with pytest.raises(ValueError, match="--units=words: expected characters with --start_from"):
        run_main(f"--start_from={tmp_path / 'lm'}", f"--run_folder={tmp_path / 'other'}", "--units=words")


@pytest.mark.parametrize(
    "units, text, expected",
    [
        ("words", "It isn't http://x.y/z bad :-) at all!!!", "it is n't http://x.y/z bad :-) at all !!!"),
        ("words", "Don't say it's 8/10 :D", "do n't say it 's 8 / 10 :d"),
        ("words", "", ""),
        ("characters", "Bad!", "B a d !"),
    ],
)
def test_units(units, text, expected):
    assert " ".join(classify.make_splitter(units, [])(text)) == expected


def test_subwords_join_to_the_text():
    pytest.importorskip("sentencepiece")
    pieces = classify.make_splitter("subwords", TEXTS)("a goodday")
    assert "".join(pieces).replace("\u2581", " ").strip() == "a goodday"
    assert 1 < len(pieces) < len("_a_goodday")


def test_letters_in_place_tell_what_no_ngram_does():
    texts = ["".join(letters) for letters in itertools.product("AC", repeat=7)]
    labelled = [(text, int(text[3] == "A")) for text in texts]
    splits = LabelledSplits(labelled[::2], labelled[1::4], labelled[3::4])
    scores = text_classifiers.all_scores(splits, ["neither", "middle"])
    assert scores["accuracy, logistic regression on letters by position"] == 1.0
    assert scores["accuracy, logistic regression on TF-IDF of letters"] < 0.9
    assert not any("VADER" in name for name in scores)


def test_what_the_data_set_lacks_is_named(tmp_path, run_main):
    arguments = [f"--run_folder={tmp_path / 'run'}", *TINY]
    with pytest.raises(ValueError, match=r"imdb_reviews.*: label: expected .* \(available: \['label'\]\), got 'stars'"):
        run_main(*arguments, "--label=stars")
    with pytest.raises(ValueError, match="--embedding_size=7: expected 4, as in the word vectors"):
        run_main(*arguments, "--embedding_size=7")
    assert not (tmp_path / "run").exists()
