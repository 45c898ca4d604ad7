"""Data sets are found by name, and a name that is none says which there are."""

import pytest

from experiments import datasets


@pytest.mark.parametrize("name", ["sentiment/movie_reviews", "sentiment:1.0.0", "splice", "brown/press:1.0.0"])
def test_ours_are_found(name, tmp_path):
    found = datasets.builder(name, tmp_path)
    assert found.info.full_name.startswith(name.split(":")[0])
    assert not list(tmp_path.iterdir())  # nothing is prepared yet


def test_those_of_tfds_are_found(tmp_path):
    assert datasets.builder("mnist", tmp_path).info.features["label"].num_classes == 10


@pytest.mark.parametrize(
    "name, message",
    [
        ("sentimant", "sentimant: expected a TFDS data set or one of brown, .*; did you mean sentiment?"),
        ("zzz/yyy", "zzz/yyy: expected a TFDS data set or one of brown, [^;]*$"),
        ("sentiment/tweet", r"sentiment/tweet: expected one of \['tweets', 'movie_reviews'\] after sentiment/, got"),
    ],
)
def test_names_of_none(name, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        datasets.builder(name, tmp_path)
