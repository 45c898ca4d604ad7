"""Drawings: what a file of QuickDraw holds, which of its lines are refused, and movements that add up to the points."""

import json

import numpy as np
import pytest

from experiments import datasets
from seqjax.data.strokes import read_drawing_dataset, read_ndjson, to_movements, to_points

CAT = {"word": "cat", "key_id": "17", "drawing": [[[0, 10, 255], [5, 5, 250]], [[7], [8.5]]]}


def write(path, *lines):
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


def test_a_drawing_is_read_with_y_upward(tmp_path):
    raw = {"drawing": [[[1, 2], [3, 4], [0, 120]]]}
    cat, other = read_ndjson(write(tmp_path / "file.ndjson", json.dumps(CAT), "", json.dumps(raw)))
    assert cat[:2] == ("17", "cat")
    np.testing.assert_array_equal(cat.points, [[0, -5, 0], [10, -5, 0], [255, -250, 1], [7, -8.5, 1]])
    assert other[:2] == (json.dumps(raw), "drawing")
    np.testing.assert_array_equal(other.points, [[1, -3, 0], [2, -4, 1]])


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "line 2: expected JSON, got '{'"),
        ("[" * 100_000, "line 2: expected JSON, got '.*[.]{3}'"),
        ("[1]", 'line 2: expected an object with "drawing", a list of strokes'),
        ('{"word": "cat"}', 'line 2: expected an object with "drawing"'),
        ('{"drawing": 5}', 'line 2: expected an object with "drawing"'),
        ('{"drawing": []}', "line 2: expected at least one stroke, got none"),
        ('{"drawing": [[[1], [2]], [[], []]]}', "line 2: stroke 2: expected as many x as y, at least one"),
        ('{"drawing": [[[1, 2], [3]]]}', "line 2: stroke 1: expected as many x as y"),
        ('{"drawing": [[[1, 2]]]}', "line 2: stroke 1: expected as many x as y"),
        ('{"drawing": [[1, 2]]}', "line 2: stroke 1: expected as many x as y"),
        ('{"drawing": [[[1, NaN], [2, 3]]]}', "line 2: stroke 1: expected finite numbers, got nan"),
        ('{"drawing": [[[1], [-Infinity]]]}', "line 2: stroke 1: expected finite numbers, got -inf"),
        ('{"drawing": [[[1], [1e39]]]}', "line 2: stroke 1: expected finite numbers, got 1e[+]39"),
        ('{"drawing": [[[1], ["2"]]]}', "line 2: stroke 1: expected finite numbers, got 2"),
        ('{"drawing": [[[1], [true]]]}', "line 2: stroke 1: expected finite numbers, got True"),
        ('{"drawing": [[[1], [[2]]]]}', "line 2: stroke 1: expected finite numbers"),
    ],
)
def test_a_line_that_is_no_drawing_is_named(line, message, tmp_path):
    path = write(tmp_path / "file.ndjson", json.dumps(CAT), line)
    with pytest.raises(ValueError, match=f"file.ndjson: {message}") as raised:
        read_ndjson(path)
    assert len(str(raised.value).splitlines()) == 1 and len(str(raised.value)) < 300 + len(str(path))


@pytest.mark.parametrize("content", ["", "\n\n"])
def test_a_file_without_drawings_is_refused(content, tmp_path):
    (tmp_path / "file.ndjson").write_text(content)
    with pytest.raises(ValueError, match="file.ndjson: expected a drawing per line, got an empty file"):
        read_ndjson(tmp_path / "file.ndjson")


def test_movements_lead_from_the_origin_through_all_points():
    points, origin = np.array([[3.0, 4, 0], [5, 4, 1], [0, 1, 1]]), np.array([1.0, 1.0])
    movements = to_movements(points, origin)
    np.testing.assert_array_equal(movements, [[2, 3, 0, 0], [2, 0, 1, 0], [-5, -3, 1, 1]])
    np.testing.assert_array_equal(to_points(movements, origin), points)


def test_the_dataset_of_characters_is_read(tmp_path):
    splits = read_drawing_dataset(datasets.builder("hanzi_strokes", tmp_path))
    assert [len(part) for part in splits] == [8589, 496, 489]
    drawing = splits.test[0]
    assert drawing.key == drawing.name == "⺳"
    assert drawing.points[:5].tolist() == [[275, 723, 0], [286, 685, 0], [276, 649, 0], [239, 584, 0], [234, 531, 1]]


def test_a_dataset_without_points_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"splice/1.0.0: expected the features 'character' and 'points' \[T, 3\]"):
        read_drawing_dataset(datasets.builder("splice", tmp_path))
