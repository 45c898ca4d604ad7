"""Spelling to pronunciation as a user runs it: tiny runs, resumed, decoded again, typed into, and trained otherwise."""

import contextlib
import io
import itertools
import json
import re
import shutil
import sys
from functools import partial

import numpy as np
import pytest
import tensorflow_datasets as tfds

from experiments import seq2seq
from experiments.harness.errors import UsageError
from seqjax.training import checkpoint

WORDS = ["".join(letters) for n in (1, 2, 3) for letters in itertools.product("abc", repeat=n)]
TINY = ["--hidden_size=16", "--embedding_size=8", "--batch_size=8", "--buckets=2", "--warmup_steps=5"]


class Backwards(tfds.core.GeneratorBasedBuilder):
    """Words of three letters, "pronounced" from the last to the first; "aaa" in two ways."""

    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
        text = tfds.features.Text()
        return tfds.core.DatasetInfo(
            builder=self, features=tfds.features.FeaturesDict({"source": text, "target": text})
        )

    def _split_generators(self, dl_manager):
        return {
            "train": self._generate_examples(30 * WORDS),
            "validation": self._generate_examples(WORDS[-9:]),
            "test": self._generate_examples(WORDS[-27:]),
        }

    def _generate_examples(self, words):
        pairs = [(word, " ".join(word[::-1].upper())) for word in words] + [("aaa", "Z")]
        for number, (source, target) in enumerate(pairs):
            yield number, {"source": source, "target": target}


@pytest.fixture(scope="module", autouse=True)
def backwards(tmp_path_factory):
    data_dir = tmp_path_factory.mktemp("data")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(seq2seq.datasets, "builder", lambda name: Backwards(data_dir=data_dir))
        yield


@pytest.fixture(scope="module")
def run_main(run_experiment):
    return partial(run_experiment, seq2seq)


@pytest.fixture(scope="module")
def finished(tmp_path_factory, run_main):
    """The folder of a run that learned its words by heart."""
    folder = tmp_path_factory.mktemp("runs") / "finished"
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        run_main(f"--run_folder={folder}", *TINY, "--epochs=1", "--learning_rate=2e-2", "--checkpoint_every=20")
    (folder / "printed.txt").write_text(printed.getvalue())
    return folder


@pytest.fixture
def one_beam(monkeypatch):
    """Each search is compiled for each width of the beam; where they are not what is tested, one will do."""
    for name, its_kind in seq2seq.KINDS.items():
        monkeypatch.setitem(seq2seq.KINDS, name, its_kind._replace(beams=(1,)))


def params(folder):
    return seq2seq.load(folder)[1]


def test_run_learns_and_leaves_all_there_is_to_see(finished):
    result = json.loads((finished / "result.json").read_text())
    names = {f"% {kind} error rate, beam {beam}" for kind in ("word", "phoneme") for beam in (1, 5, 10)}
    assert set(result["scores"]) == names
    assert result["scores"]["% phoneme error rate, beam 5"] < 10
    for figure in ("learning_curve.png", "attention.png"):
        assert (finished / figure).stat().st_size > 1000
    first, *_, last = sorted((finished / "samples").iterdir())
    assert first.read_text() != last.read_text()
    assert len(result["baselines"]) == 2
    kept = {"settings", "letters", "phonemes", "max_letters", "max_phonemes"}
    assert kept <= checkpoint.latest(finished / "checkpoints").metadata.keys()
    assert re.search(r"(?m)^ccc\n +-\d+\.\d\d  C C C$", last.read_text())


def test_compilations_are_counted(finished):
    out = (finished / "printed.txt").read_text()
    assert "The training step was compiled 2 times" in out
    assert len(re.findall(r"Beam \d+: [\d,]+ words per second", out)) == 3


def test_resumed_equals_unbroken(finished, tmp_path, run_main, one_beam):
    folder = shutil.copytree(finished, tmp_path / "resumed")
    newest = checkpoint.latest(folder / "checkpoints").path
    shutil.rmtree(newest)
    run_main(f"--run_folder={folder}", "--resume", "--checkpoint_every=20")
    assert checkpoint.latest(folder / "checkpoints").path.name == newest.name
    seq2seq.jax.tree.map(np.testing.assert_array_equal, params(folder), params(finished))


def test_decode_only_gives_the_scores_of_the_run(finished, capsys, run_main):
    run_main(f"--run_folder={finished}", "--decode_only")
    out = capsys.readouterr().out
    for name, score in json.loads((finished / "result.json").read_text())["scores"].items():
        assert f"{score:7.3f}  {name}" in out


def test_interactive_answers_each_word_with_its_best_pronunciations(finished, capsys, monkeypatch, run_main):
    monkeypatch.setattr("sys.stdin", io.StringIO("ab\nCBA\nx?\n\nnever read\n"))
    run_main(f"--run_folder={finished}", "--interactive", "--n_best=2")
    lines = capsys.readouterr().out.splitlines()[1:]
    assert lines[0] == "ab" and lines[1].endswith("  B A") and lines[3] == "cba" and lines[4].endswith("  A B C")
    for best, second in ((1, 2), (4, 5)):
        assert float(lines[best].split()[0]) > float(lines[second].split()[0])
    assert lines[6] == "x?" and len(lines) == 9


def test_start_from_a_run_and_minimise_its_risk(finished, tmp_path, run_main, one_beam):
    folder = tmp_path / "risk"
    options = ["--risk_samples=3", f"--start_from={finished}", "--learning_rate=1e-9", "--dropout=0"]
    run_main(f"--run_folder={folder}", *TINY, *options, "--epochs=0.2")
    result = json.loads((folder / "result.json").read_text())
    assert result["scores"].items() <= json.loads((finished / "result.json").read_text())["scores"].items()
    assert "errors_per_phoneme" in (folder / "metrics.csv").read_text()


def test_start_from_a_run_of_other_symbols_is_refused(finished, run_main):
    with pytest.raises(ValueError, match="^--start_from=.*: expected a run with the same symbols"):
        run_main(*TINY, f"--start_from={finished}", "--source=target", "--target=source")


@pytest.mark.parametrize(
    "options",
    [
        ["--attention=additive", "--input_feeding", "--tie_embeddings", "--cell=gru"],
        ["--attention=none", "--scheduled_sampling=5", "--label_smoothing=0.1"],
    ],
)
def test_other_settings_train(tmp_path, options, run_main, one_beam):
    folder = tmp_path / "run"
    run_main(f"--run_folder={folder}", *TINY, "--buckets=1", "--epochs=0.2", *options)
    rows = [line.split(",") for line in (folder / "metrics.csv").read_text().splitlines()[1:]]
    losses = [float(value) for _, _, name, value in rows if name == "train/loss"]
    assert ("output" in params(folder)["params"]) != ("--tie_embeddings" in options)
    assert losses[-1] < losses[0]
    assert all(value == "0" for _, _, name, value in rows if name == "train/skipped")


def test_subwords_come_back_from_a_run(tmp_path, capsys, monkeypatch, run_main, one_beam):
    folder = tmp_path / "run"
    run_main(
        f"--run_folder={folder}",
        *TINY,
        "--kind=translation",
        "--copying",
        "--buckets=1",
        "--epochs=0.2",
        "--learning_rate=2e-2",
    )
    assert "copy_gate" in params(folder)["params"]
    result = json.loads((folder / "result.json").read_text())
    assert set(result["scores"]) == {"BLEU, beam 1", "chrF, beam 1"} and result["scores"]["chrF, beam 1"] > 0
    assert set(result["baselines"]) == {
        f"{s}, {b}" for s in ("BLEU", "chrF") for b in ("copied source", "phrase table")
    }
    assert result["baselines"]["chrF, phrase table"] == pytest.approx(100)
    monkeypatch.setattr("sys.stdin", io.StringIO("cab\n"))
    capsys.readouterr()
    run_main(f"--run_folder={folder}", "--interactive", "--n_best=1")
    out = capsys.readouterr().out
    assert re.match(r"Type one sentence per line; an empty line quits.\ncab\n +-\d+\.\d\d  ", out)


def test_flags_that_need_a_run_say_so(run_main):
    for flag in ("--decode_only", "--interactive"):
        with pytest.raises(UsageError, match="--run_folder: expected the folder of a run of experiments.seq2seq"):
            run_main(flag)


def test_copying_needs_sources_and_targets_of_the_same_symbols(run_main):
    with pytest.raises(UsageError, match="--copying: a letter cannot be copied into a sequence of phonemes"):
        run_main("--copying")


def test_joint_ngrams_that_are_not_installed_are_missed_before_the_training(run_main, monkeypatch):
    monkeypatch.setitem(sys.modules, "phonetisaurus", None)
    with pytest.raises(UsageError, match=r"phonetisaurus is not installed; run: pip install -e .*baselines"):
        run_main("--joint_ngrams")
