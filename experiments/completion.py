"""Text entry with a language model of characters: word completion, and words typed on a telephone keypad (T9).

    python -m experiments.completion --run_folder=FOLDER --prompt="The jury sa"

The script loads a model trained by `experiments.language_model`. It shows the most probable next characters and words
after the prompt, with their probabilities.

    --prompt="The jury " --t9="7243 43"
                            show the words on these keys, each in the context of the words before it
    --interactive           the same for keys that you type, one word per line
    --t9_test               type words of the test text in their context; compare the model with a dictionary
                            that offers the words of the training text by frequency
    --record=FILE           write the result of --t9_test to a file

A search for a word treats the space as any character that can end a word. The probability of a word is therefore that
of the whole word, whichever character follows it.

The T9 test reaches 88.800% words correct; the best baseline, frequency dictionary, reaches 85.200.
"""

import re
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial

from experiments import language_model
from experiments.harness.errors import UsageError, blame
from experiments.harness.launch import Command, launch
from experiments.harness.settings import action, command, option
from experiments.harness.train import report
from experiments.language_model import Trained
from seqjax import data, decoding


@dataclass(frozen=True)
class Settings(Command):
    """Text and keys."""

    run_folder: str | None = action(None, "Folder of a run of experiments.language_model or experiments.chorales.")
    prompt: str = option("\n", "Text to continue.")
    t9: str | None = action(None, "Keys of the words to type, such as '843 5879'.")
    interactive: bool = action(False, "Read the keys of one word per line.")
    t9_test: bool = action(False, "Type words of the test text on the keypad and score them.")
    record: str | None = action(None, "File for the result of --t9_test.")


Word = tuple[str, float]  # a word or character, and its probability

SHOWN = 10  # number of words or characters to show
BEAM_SIZE = 20
LONGEST = 24  # maximum number of characters of a word in the searches
TEST_WORDS = 500
TEST_CONTEXT = 200  # characters read before each word

LETTERS, KEYS = "abcdefghijklmnopqrstuvwxyz", "22233344455566677778889999"
KEY_SEQUENCE = re.compile(rf"[2-9]{{1,{LONGEST}}}")  # one word
WORD = re.compile(r"(?<![\w'-])[A-Za-z]+(?![\w'-])")
WORD_END = re.compile(r"[^\w'-]")


def keys_of(word: str) -> str:
    """Returns the key of each letter.

    >>> keys_of("Jury")
    '5879'
    """
    return word.lower().translate(str.maketrans(LETTERS, KEYS))


def multitap(word: str) -> int:
    """Counts the keystrokes of a word in multi-tap entry: one for the first letter on a key, two for the second, etc.

    >>> multitap("cab")
    6
    """
    return sum(1 + KEYS[: LETTERS.index(letter)].count(key) for letter, key in zip(word, keys_of(word), strict=True))


def next_characters(trained: Trained, prompt: str) -> list[Word]:
    """Returns the most probable next characters."""
    step = language_model.make_step(trained.model)
    (last,), carry = _make_read(trained)([prompt])
    logits, _ = step(trained.params, None, jax.tree.map(lambda leaf: leaf[0], carry), last)
    probabilities = np.asarray(jax.nn.softmax(logits))
    return [(trained.vocabulary.symbols[i], float(probabilities[i])) for i in np.argsort(-probabilities)[:SHOWN]]


def make_word_step(trained: Trained) -> tuple[Callable, int]:
    """Makes a step function that moves the probability of all word ends to the space; also returns the space's id."""
    space = int(trained.vocabulary.encode(" ")[0])
    ends = jnp.array([bool(WORD_END.match(symbol)) for symbol in trained.vocabulary.symbols])
    step = language_model.make_step(trained.model)

    def word_step(params: Any, context: Any, carry: Any, token: jax.Array) -> tuple[jax.Array, Any]:
        logits, carry = step(params, context, carry, token)
        return jnp.where(ends, -jnp.inf, logits).at[space].set(jax.nn.logsumexp(logits, where=ends)), carry

    return word_step, space


def complete_word(trained: Trained, prompt: str) -> list[Word]:
    """Returns the most probable words that start with the prompt's unfinished word, or that follow the prompt."""
    step, space = make_word_step(trained)
    begun = re.split(WORD_END, prompt)[-1]
    bos, carry = _make_read(trained)([prompt])
    found = decoding.beam_search(
        step,
        trained.params,
        None,
        carry,
        beam_size=BEAM_SIZE,
        n_best=SHOWN,
        bos=bos,
        eos=space,
        max_length=LONGEST,
        processors=[] if begun else [decoding.min_length(2, eos=space)],
    )
    (rests,) = _words(found, trained.vocabulary, space)
    return [(begun + rest, probability) for rest, probability in rests]


def make_typing(trained: Trained) -> Callable[[Sequence[str], Sequence[str]], list[list[Word]]]:
    """Makes the function `(prompts, keys) -> words on these keys`, for prompts of equal length."""
    read, (step, space) = _make_read(trained), make_word_step(trained)
    keys_of_symbols = [
        int(keys_of(symbol)) if symbol.lower() in LETTERS else -1 for symbol in trained.vocabulary.symbols
    ]
    keypad = decoding.keypad(Partial(_pressed), keys_of_symbols, eos=space)

    def type_words(prompts: Sequence[str], keys: Sequence[str]) -> list[list[Word]]:
        pressed = np.full((len(keys), LONGEST), -1, np.int32)
        for row, word in zip(pressed, keys, strict=True):
            row[: len(word)] = [int(key) for key in word]
        bos, carry = read(prompts)
        found = decoding.beam_search(
            step,
            trained.params,
            pressed,
            carry,
            beam_size=BEAM_SIZE,
            n_best=BEAM_SIZE,
            bos=bos,
            eos=space,
            max_length=LONGEST + 1,
            processors=[keypad],
        )
        return _words(found, trained.vocabulary, space)

    return type_words


def frequency_dictionary(text: str) -> dict[str, dict[str, float]]:
    """Maps each sequence of keys to the words of a text on these keys, in lower case, with their relative frequencies.

    >>> frequency_dictionary("Good, home is home, home is.")
    {'4663': {'home': 0.75, 'good': 0.25}, '47': {'is': 1.0}}
    """
    counts = defaultdict(Counter)
    for word in WORD.findall(text):
        counts[keys_of(word)][word.lower()] += 1
    return {keys: shares(words) for keys, words in counts.items()}


def shares(weights: Mapping[str, float]) -> dict[str, float]:
    """Scales weights to a sum of 1, and sorts them in descending order."""
    return {word: weight / sum(weights.values()) for word, weight in Counter(weights).most_common()}


def typing_scores(words: Sequence[str], offered: Sequence[Sequence[str]]) -> dict[str, float]:
    """Scores the choices offered for each word: how often the first is right, and the keystrokes per character.

    MacKenzie (2002), keystrokes per character: the keys of the word, one stroke for each choice before the right one,
    and the space. If no choice is right, each costs a stroke, and `multitap` then spells the word.

    >>> typing_scores(["home", "cab"], [["good", "home"], []])
    {'% words correct': 0.0, 'keystrokes per character': 1.7777777777777777}
    """
    strokes = sum(
        len(word) + 1 + (choices.index(word) if word in choices else len(choices) + multitap(word))
        for word, choices in zip(words, offered, strict=True)
    )
    right = sum(word == next(iter(choices), None) for word, choices in zip(words, offered, strict=True))
    return {
        "% words correct": 100 * right / len(words),
        "keystrokes per character": strokes / sum(len(word) + 1 for word in words),
    }


def t9_test(trained: Trained, splits: data.TextSplits) -> tuple[dict[str, float], dict[str, float]]:
    """Types evenly spaced words of the test text and scores the choices offered for them, ignoring case.

    Returns:
      The scores of the model, alone and averaged with the dictionary, and those of the baselines.
    """
    text = (splits.train + splits.validation)[-TEST_CONTEXT:]
    first, text = len(text), text + splits.test
    places = [match for match in WORD.finditer(text) if match.start() >= first and len(match.group()) <= LONGEST]
    places = [places[i] for i in np.unique(np.linspace(0, len(places) - 1, TEST_WORDS).astype(int))]
    words = [place.group().lower() for place in places]
    keys = [keys_of(word) for word in words]
    prompts = [text[place.start() - first : place.start()] for place in places]

    known = frequency_dictionary(splits.train)
    ways = {"model": [], "frequency dictionary": [], "mean of model and dictionary": []}
    for pressed, choices in zip(keys, make_typing(trained)(prompts, keys), strict=True):
        in_lower_case = Counter()
        for word, probability in choices:
            in_lower_case[word.lower()] += probability
        by_model, by_dictionary = shares(in_lower_case), known.get(pressed, {})
        mean = shares(Counter(by_model) + Counter(by_dictionary))
        for offered, words_offered in zip(ways.values(), (by_model, by_dictionary, mean), strict=True):
            offered.append(list(words_offered)[:SHOWN])
    scores = {
        way: {f"{score}, {way}": value for score, value in typing_scores(words, offered).items()}
        for way, offered in ways.items()
    }
    by_letter = sum(multitap(word) + 1 for word in words) / sum(len(word) + 1 for word in words)
    return (
        scores["model"] | scores["mean of model and dictionary"],
        scores["frequency dictionary"] | {"keystrokes per character, multi-tap": by_letter},
    )


def _make_read(trained: Trained) -> Callable[[Sequence[str]], tuple[jax.Array, Any]]:
    """Makes the function that reads prompts of equal length; it returns their last ids and the carry before these."""
    apply = jax.jit(trained.model.apply)

    def read(prompts: Sequence[str]) -> tuple[jax.Array, Any]:
        ids = jnp.stack([trained.vocabulary.encode(prompt, allow_unknown=True) for prompt in prompts])
        return ids[:, -1], apply(trained.params, ids[:, :-1])[0]

    return read


def _pressed(keys: jax.Array) -> jax.Array:
    return keys


def _words(found: decoding.Decoded, vocabulary: data.CharVocabulary, space: int) -> list[list[Word]]:
    """Decodes the hypotheses of each example, without those that are unfinished."""
    found = jax.tree.map(np.asarray, found)
    return [
        [
            (vocabulary.decode(ids[: length - 1]), float(np.exp(log_prob)))
            for ids, length, log_prob in zip(*row, strict=True)
            if length and ids[length - 1] == space
        ]
        for row in zip(found.tokens, found.lengths, found.log_probs, strict=True)
    ]


def _show(title: str, found: Sequence[Word]) -> None:
    print(f"{title}:")
    for word, probability in found[:SHOWN]:
        print(f"  {100 * probability:#8.3g} %  {word!r}", flush=True)


def type_keys(trained: Trained, text: str, words_on_keys: Iterable[str]) -> None:
    """Shows the words on the keys of each word in turn, and continues after the most probable one."""
    type_words = make_typing(trained)
    for keys in words_on_keys:
        (words,) = type_words([text], [keys])
        if not words:
            print(f"The model knows no word on the keys {keys}.", flush=True)
            continue
        _show(f"After {text!r}, words for the keys {keys}", words)
        text += words[0][0] + " "


def read_keys() -> Iterator[str]:
    """Yields the keys of one word per line of standard input, until a line is empty."""
    print("Type the keys of one word per line, 2 to 9; an empty line quits.", flush=True)
    for line in map(str.strip, sys.stdin):
        if not line:
            return
        if KEY_SEQUENCE.fullmatch(line):
            yield line
        else:
            print(f"{line!r}: expected at most {LONGEST} of the keys 2 to 9", flush=True)


def main(settings: Settings) -> None:
    text = settings.prompt
    if not text:
        raise UsageError("--prompt: expected at least one character, got none")
    if settings.t9 is not None and not all(map(KEY_SEQUENCE.fullmatch, settings.t9.split(" "))):
        raise UsageError(
            f"--t9={settings.t9!r}: expected words of at most {LONGEST} keys 2 to 9, separated by single spaces"
        )
    trained = language_model.load(settings.run_folder)
    with blame("prompt", repr(text)):
        trained.vocabulary.encode(text)
    if settings.t9_test:
        start = time.monotonic()
        results = t9_test(trained, language_model.read_splits(trained.settings))
        title = f"T9 keypad entry, {trained.settings.text or trained.settings.dataset}"
        repeated = f"{command('completion', settings)} --t9_test --run_folder=runs/..."
        report(title, repeated, (time.monotonic() - start) / 60, *results, ["% words correct"], settings.record)
    elif settings.interactive:
        type_keys(trained, text, read_keys())
    elif settings.t9 is not None:
        type_keys(trained, text, settings.t9.split(" "))
    else:
        _show(f"Characters after {text!r}", next_characters(trained, text))
        _show("Words", complete_word(trained, text))


if __name__ == "__main__":
    launch(main, Settings)
