"""Typing with a tiny language model: what it says is the chain rule's, and what it types is what the keys allow."""

import io
import json
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import completion, language_model
from seqjax import data

FOX = "the quick brown fox jumps over the lazy dog. "


@pytest.fixture(scope="module")
def folder(tmp_path_factory, run_experiment):
    """The folder of a run that has learnt one sentence."""
    folder = tmp_path_factory.mktemp("runs")
    (folder / "fox.txt").write_text(FOX * 170)
    run_experiment(
        language_model,
        *(f"--text={folder / 'fox.txt'}", f"--run_folder={folder / 'run'}", "--characters=1"),
        *("--hidden_size=16", "--batch_size=4", "--length=16", "--epochs=1", "--learning_rate=0.05"),
        *("--dropout=0", "--weight_drop=0", "--warmup_steps=5", "--devices=1"),
    )
    return folder / "run"


@pytest.fixture(scope="module")
def trained(folder):
    return language_model.load(folder)


@pytest.fixture(scope="module")
def run_main(run_experiment, folder):
    return partial(run_experiment, completion, f"--run_folder={folder}")


def log_probabilities(trained, text):
    """Of each next character after each of a text; none of the unknown one."""
    ids = jnp.asarray(trained.vocabulary.encode(text.ljust(40)))  # one length, one compilation
    _, logits = apply(trained.model, trained.params, ids)
    return np.asarray(jax.nn.log_softmax(logits.at[:, 0].set(-jnp.inf)))[: len(text)]


@partial(jax.jit, static_argnums=0)
def apply(model, params, ids):
    return model.apply(params, ids)


def word_probability(trained, prompt, rest):
    """By the chain rule, with whatever may end the word: here, a space or a full stop."""
    rows = log_probabilities(trained, prompt + rest)[len(prompt) - 1 :]
    ids = trained.vocabulary.encode(rest)
    return np.exp(rows[np.arange(len(ids)), ids].sum()) * np.exp(rows[-1, trained.vocabulary.encode(" .")]).sum()


def test_next_characters(trained):
    found = completion.next_characters(trained, "the quick br")
    expected = np.exp(log_probabilities(trained, "the quick br")[-1])
    assert found[0][0] == "o"
    assert [p for _, p in found] == sorted((p for _, p in found), reverse=True)
    for character, probability in found:
        np.testing.assert_allclose(probability, expected[trained.vocabulary.encode(character)[0]], rtol=1e-4)


@pytest.mark.parametrize("prompt", ["the quick br", "the quick brown", "the quick "])
def test_words_have_the_probability_of_the_chain_rule(trained, prompt):
    begun = prompt.split(" ")[-1]
    found = completion.complete_word(trained, prompt)
    assert found[0][0] == ("brown" if begun else found[0][0])
    assert len({word for word, _ in found}) == len(found) > 3
    for word, probability in found:
        assert word and word.startswith(begun)
        np.testing.assert_allclose(
            probability, word_probability(trained, prompt, word.removeprefix(begun)), rtol=1e-3, err_msg=word
        )


def test_typed_words_are_on_the_keys_and_most_probable_first(trained):
    prompts, keys = ["quick brown ", "ps over the "], ["369", "5299"]
    found = completion.make_typing(trained)(prompts, keys)
    assert [words[0][0] for words in found] == ["fox", "lazy"]
    for words, prompt, pressed in zip(found, prompts, keys, strict=True):
        assert {completion.keys_of(word) for word, _ in words} == {pressed}
        for word, probability in words:
            np.testing.assert_allclose(probability, word_probability(trained, prompt, word), rtol=1e-3, err_msg=word)
    every = [a + b + c for a in "def" for b in "mno" for c in "wxyz"]
    best = sorted(every, key=lambda word: -word_probability(trained, prompts[0], word))[:3]
    assert [word for word, _ in found[0]][:3] == best


def test_a_second_batch_of_the_same_shape_compiles_nothing(trained, compilations):
    type_words = completion.make_typing(trained)
    type_words(["the quick "], ["27696"])
    with compilations() as compiled:
        type_words(["jumps over"], ["8"])
    assert not compiled


def test_test_of_typing_counts_words_of_the_test_text(trained):
    splits = data.TextSplits(FOX * 20, FOX * 6, FOX * 3)
    scores, baselines = completion.t9_test(trained, splits)
    for way in (
        "model",
        "frequency dictionary",
        "mean of model and dictionary",
    ):  # no two words share keys here
        found = baselines if way == "frequency dictionary" else scores
        assert (found[f"% words correct, {way}"], found[f"keystrokes per character, {way}"]) == (100.0, 1.0)
    letters = [completion.multitap(word) + 1 for word in FOX.replace(".", "").split()]
    by_letter = sum(letters) / (len(FOX) - 1)
    assert baselines["keystrokes per character, multi-tap"] == pytest.approx(by_letter)


def test_test_of_typing_is_recorded(run_main, tmp_path, monkeypatch):
    monkeypatch.setattr(completion, "TEST_WORDS", 20)
    run_main("--t9_test", "--prompt=the", f"--record={tmp_path / 'row.json'}")
    row = json.loads((tmp_path / "row.json").read_text())
    assert row["command"] == "python -m experiments.completion --prompt=the --t9_test --run_folder=runs/..."
    assert "% words correct, model" in row["scores"] and "% words correct, frequency dictionary" in row["baselines"]


def test_main_types_word_after_word(run_main, capsys):
    run_main("--prompt=the quick brown ", "--t9=369 58677")
    out = capsys.readouterr().out
    assert "After 'the quick brown ', words for the keys 369:" in out
    assert "After 'the quick brown fox ', words for the keys 58677:" in out
    assert "'jumps'" in out


def test_interactive_goes_on_after_the_most_probable_word(run_main, capsys, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO("369\n1\n58677\n\n843\n"))
    run_main("--prompt=the quick brown ", "--interactive")
    out = capsys.readouterr().out
    assert "'1': expected at most 24 of the keys 2 to 9" in out
    assert "After 'the quick brown fox ', words for the keys 58677:" in out and "843" not in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--t9=12"], "--t9='12': expected words"),
        (["--t9=3  2"], "--t9='3  2': expected words"),
        (["--prompt="], "--prompt: expected at least one"),
        (["--prompt=the Ω"], "--prompt='the Ω': .*'Ω' at position 4"),
    ],
)
def test_wrong_flags_are_named(run_main, arguments, message):
    with pytest.raises(ValueError, match=message):
        run_main(*arguments)
