"""Mistakes a person makes: one line on standard error that names the flag, exit code 2, nothing written."""

import json
import os
import subprocess
import sys

import pytest

from experiments import datasets, language_model

# Runs each command in a fork of one process, so that the imports, which take seconds, are shared.
PROGRAM = """
import json, os, runpy, sys, tempfile
import experiments.harness.train, seqjax.layers.linen, seqjax.models.seq2seq, tensorflow_datasets

results = []
for script, *arguments in json.load(sys.stdin):
    out, err = tempfile.TemporaryFile(), tempfile.TemporaryFile()
    pid = os.fork()
    if pid == 0:
        os.dup2(out.fileno(), 1), os.dup2(err.fileno(), 2)
        sys.argv = ["-m", *arguments]
        try:
            runpy.run_module(f"experiments.{script}", run_name="__main__", alter_sys=True)
        except SystemExit as end:
            os._exit(end.code)
        finally:
            sys.stdout.flush(), sys.stderr.flush()
        os._exit(0)
    _, status = os.waitpid(pid, 0)
    out.seek(0), err.seek(0)
    results.append([os.waitstatus_to_exitcode(status), out.read().decode(), err.read().decode()])
json.dump(results, sys.stdout)
"""

MISTAKES = [  # script, arguments, what the line names beside the first argument
    ("language_model", ["--hidden_size=abc"], "expected an integer"),
    ("language_model", ["--hidden_size=0"], "expected at least 1"),
    ("language_model", ["--layers=0"], "expected at least 1"),
    ("language_model", ["--dropout=1.5"], "expected at least 0 and below 1"),
    ("language_model", ["--dropout=nan"], "expected at least 0 and below 1"),
    ("language_model", ["--epochs=nan"], "expected above 0"),
    ("language_model", ["--epochs=0"], "expected above 0"),
    ("language_model", ["--epochs=inf"], "expected a finite number"),
    ("language_model", ["--learning_rate=-1"], "expected at least 0"),
    ("language_model", ["--weight_decay=-0.1"], "expected at least 0"),
    ("language_model", ["--warmup_steps=-5"], "expected at least 0"),
    ("language_model", ["--checkpoint_every=0"], "expected at least 1"),
    ("language_model", ["--batch_size=-1"], "expected at least 1"),
    ("language_model", ["--max_grad_norm=0"], "expected above 0"),
    ("language_model", ["--devices=99999"], "the cores of this machine"),
    ("language_model", ["--bfloat16"], "expected a GPU or TPU"),
    ("language_model", ["--cell=lstmm"], "expected one of gru, irnn, lstm, simple_rnn"),
    ("language_model", ["--hiden_size=3"], "did you mean --hidden_size?"),
    ("language_model", ["brown/all"], "expected flags only"),
    ("language_model", ["--text=MISSING"], "No such file"),
    ("language_model", ["--text=EMPTY"], "Is a directory"),
    ("language_model", ["--text=SHORT"], "too short"),
    ("language_model", ["--text=NOT_UTF8"], "line 2, byte 5: not UTF-8"),
    ("language_model", ["--batch_size=99", "--text=TEXT"], "do not fill one batch"),
    ("language_model", ["--epochs=0.001", "--batch_size=4", "--text=TEXT"], "expected enough for at least one batch"),
    ("language_model", ["--dataset=brwn/press"], "did you mean brown?"),
    ("language_model", ["--dataset=brown/pres"], "expected one of"),
    ("language_model", ["--resume"], "--run_folder=FOLDER"),
    ("language_model", ["--run_folder=EMPTY", "--resume"], "no checkpoint"),
    ("language_model", ["--run_folder=SHORT", "--text=TEXT", "--batch_size=4"], "File exists"),
    ("language_model", ["--run_folder=RUN"], "holds a run; give --resume"),
    ("language_model", ["--hidden_size=9", "--resume", "--run_folder=RUN"], "the run in RUN has 8"),
    ("language_model", ["--prompt=Ω", "--sample_only", "--run_folder=RUN"], "'Ω' at position 0"),
    ("language_model", ["--temperature=0", "--sample_only", "--run_folder=RUN"], "expected a temperature above 0"),
    ("language_model", ["--top_k=0", "--sample_only", "--run_folder=RUN"], "expected at least 1"),
    ("language_model", ["--top_p=2", "--sample_only", "--run_folder=RUN"], "expected"),
    ("language_model", ["--sample_only"], "--run_folder: expected the folder of a run"),
    ("chorales", ["--sample_only"], "--run_folder: expected the folder of a run"),
    ("classify", ["--run_folder=RUN", "--resume"], "RUN is a run of experiments.language_model"),
    ("classify", ["--folder=MISSING"], "expected a folder, found nothing"),
    ("classify", ["--folder=EMPTY"], "expected a folder of files <class>/<name>.txt"),
    ("classify", ["--start_from=EMPTY"], "no checkpoint"),
    ("classify", ["--units=words", "--start_from=RUN"], "expected characters with --start_from"),
    ("completion", ["--prompt=the"], "--run_folder: expected the folder of a run"),
    ("completion", ["--t9=1", "--run_folder=RUN"], "expected words of at most"),
    ("completion", ["--epochs=2", "--run_folder=RUN"], "no such flag"),
    ("pixels", ["--reach=0"], "expected at least 1"),
    ("pixels", ["--dataset=listops"], "expected an 'image' of bytes, of one size and one channel"),
    ("pixels", ["--sample_only"], "--run_folder: expected the folder of a run"),
    ("draw", ["--sample_only"], "--run_folder: expected the folder of a run"),
    ("draw", ["--dataset=listops"], "expected the features 'character' and 'points'"),
    ("draw", ["--ndjson=MISSING"], "No such file"),
    ("draw", ["--ndjson=TEXT"], "line 1: expected JSON"),
    ("draw", ["--components=0"], "expected at least 1"),
    ("draw", ["--strokes=3"], "expected a model with --condition=strokes"),
    ("draw", ["--run_folder=RUN", "--sample_only"], "RUN is a run of experiments.language_model"),
    ("seq2seq", ["--interactive"], "--run_folder: expected the folder of a run"),
    ("seq2seq", ["--copying"], "cannot be copied"),
    ("seq2seq", ["--kind=poem"], "expected one of"),
    ("seq2seq", ["--dataset=listops"], "expected"),
    ("tag", ["--dataset=listops"], "expected"),
    ("tree", ["--batch_size=1000000000"], "(the training expressions)"),
    ("forecast", ["--csv=MISSING"], "No such file"),
    ("forecast", ["--csv=SHORT"], "expected the columns ds, y"),
    ("forecast", ["--horizon=0"], "expected at least 1"),
    ("forecast", ["--dataset=listops"], "expected the features unique_id, ds and y"),
    ("long_memory", ["--length=5"], "expected at least 10"),
    ("long_memory", ["--length=50", "--problem=rows"], "only for synthetic problems"),
]
NAMED_BY_ANOTHER_FLAG = {"--sample_only", "--interactive", "--prompt=the"}


@pytest.fixture(scope="module")
def paths(tmp_path_factory, run_experiment):
    """What the capital words in the arguments stand for."""
    folder = tmp_path_factory.mktemp("mistakes")
    (folder / "EMPTY").mkdir()
    (folder / "SHORT").write_text("short")
    (folder / "NOT_UTF8").write_bytes(b"good line\nbad \xff line\n" * 50)
    (folder / "TEXT").write_text("the quick brown fox jumps over the lazy dog. " * 40)
    run_experiment(language_model, f"--text={folder / 'TEXT'}", f"--run_folder={folder / 'RUN'}", "--hidden_size=8",
                   "--batch_size=4", "--length=8", "--epochs=0.1", "--characters=5")  # fmt: skip
    return {word: folder / word for word in ("EMPTY", "SHORT", "NOT_UTF8", "TEXT", "RUN", "MISSING")}


@pytest.fixture(scope="module")
def results(paths, tmp_path_factory):
    """Exit code, output and errors of each mistake."""

    def filled_in(text):
        for word, path in paths.items():
            text = text.replace(f"={word}", f"={path}")
        return text

    commands = [[script, *map(filled_in, arguments)] for script, arguments, _ in MISTAKES]
    data_dir = tmp_path_factory.mktemp("data")
    datasets.builder("listops", data_dir).download_and_prepare(file_format="array_record")
    before = sorted(paths["RUN"].rglob("*"))
    ran = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env=os.environ | {"TFDS_DATA_DIR": str(data_dir)},
        input=json.dumps(commands),
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stderr
    assert sorted(paths["RUN"].rglob("*")) == before
    return dict(zip(map(str, MISTAKES), json.loads(ran.stdout), strict=True))


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: f"{mistake[0]} {' '.join(mistake[1])}")
def test_a_mistake_is_one_line_that_names_the_flag(mistake, results, paths):
    script, arguments, named = mistake
    code, _, err = results[str(mistake)]
    assert code == 2, err
    assert err.startswith(f"{script}: ") and err.count("\n") == 1, err
    for word, path in paths.items():
        named = named.replace(word, str(path))
    assert named in err
    if arguments[0] not in NAMED_BY_ANOTHER_FLAG:
        assert arguments[0].partition("=")[0] in err
