"""Text classification baselines: the most frequent class, logistic regression, and the rules of VADER."""

from collections.abc import Sequence

import numpy as np

from seqjax.data import LabelledSplits


def scores(found: Sequence[int], labels: Sequence[int]) -> dict[str, float]:
    """Returns the accuracy, and the mean F1 score over the classes."""
    from sklearn.metrics import f1_score

    return {
        "accuracy": float(np.mean(np.asarray(found) == np.asarray(labels))),
        "macro F1": float(f1_score(labels, found, average="macro")),
    }


def majority(splits: LabelledSplits) -> list[int]:
    """Predicts the most frequent class of the training texts for each test text."""
    _, labels = zip(*splits.train, strict=True)
    return [int(np.bincount(labels).argmax())] * len(splits.test)


def logistic_regression(splits: LabelledSplits, analyzer: str) -> np.ndarray:
    """Predicts the class of each test text by logistic regression on its n-grams, weighted by TF-IDF.

    The maximum length of an n-gram and the strength of the regularisation are chosen on the validation texts.

    Args:
      splits: the texts.
      analyzer: the unit of the n-grams, "word" or "char".
    """
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    (texts, labels), (held_out, right), (test, _) = (zip(*part, strict=True) for part in splits)
    longest = {"word": (1, 2), "char": (3, 5)}[analyzer]
    models = [
        make_pipeline(
            TfidfVectorizer(analyzer=analyzer, ngram_range=(1, n), sublinear_tf=True),
            LogisticRegression(C=strength, max_iter=1000),
        ).fit(texts, labels)
        for n in longest
        for strength in (1, 10, 100)
    ]
    return max(models, key=lambda model: model.score(held_out, right)).predict(test)


def letters_in_place(splits: LabelledSplits) -> np.ndarray:
    """Predicts the class of each test text by logistic regression on the letter at each position.

    All texts have the same length. The strength of the regularisation is chosen on the validation texts.
    """
    from sklearn.linear_model import LogisticRegression

    alphabet = np.array(sorted({letter for text, _ in splits.train for letter in text}))
    train, validation, test = (
        (np.array([list(text) for text, _ in part])[..., None] == alphabet).reshape(len(part), -1) for part in splits
    )
    (_, labels), (_, right), _ = (zip(*part, strict=True) for part in splits)
    models = [LogisticRegression(C=strength, max_iter=1000).fit(train, labels) for strength in (0.01, 0.1, 1)]
    return max(models, key=lambda model: model.score(validation, right)).predict(test)


def vader(texts: Sequence[str]) -> list[int]:
    """Predicts whether English texts are negative (0) or positive (1) by the rules of Hutto and Gilbert (2014)."""
    from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

    analyzer = SentimentIntensityAnalyzer()
    return [int(analyzer.polarity_scores(text)["compound"] >= 0) for text in texts]


def all_scores(splits: LabelledSplits, classes: Sequence[str]) -> dict[str, float]:
    """Returns the test scores of all baselines that apply.

    VADER needs the classes "neg..." and "pos...", in this order; letters in place need texts of one length.
    """
    texts, right = zip(*splits.test, strict=True)
    found = {"most frequent class": majority(splits)}
    for name, analyzer in (("words", "word"), ("letters", "char")):
        found[f"logistic regression on TF-IDF of {name}"] = logistic_regression(splits, analyzer)
    if len({len(text) for part in splits for text, _ in part}) == 1:
        found["logistic regression on letters by position"] = letters_in_place(splits)
    if [name[:3] for name in classes] == ["neg", "pos"]:
        found["VADER"] = vader(texts)
    return {
        f"{score}, {name}": value for name, answers in found.items() for score, value in scores(answers, right).items()
    }
