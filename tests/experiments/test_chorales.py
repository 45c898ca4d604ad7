"""Chorales as a user trains and hears them: a tiny run, and files of music that hold what was composed."""

import json

import numpy as np
import pytest

mido = pytest.importorskip("mido")

from experiments import chorales  # noqa: E402
from experiments.datasets.chorales.chorales import pitches_of  # noqa: E402

PIECE = np.array([[72, 67, 0, 48]] * 4 + [[74, 67, 59, 48]] * 2 + [[74, 67, 59, 0]] * 2)


def heard(file):
    """What sounds in each sixteenth of a MIDI file, voice by voice: an independent reading of its messages."""
    step = file.ticks_per_beat // 4
    voices = []
    for track in file.tracks[1:]:
        steps, sounding = [], 0
        for message in track:
            steps += [sounding] * (message.time // step)
            if message.type in ("note_on", "note_off"):
                sounding = message.note if message.type == "note_on" else 0
        voices.append(steps)
    return np.array(voices).T


def test_midi_plays_every_voice_at_its_time(tmp_path):
    chorales.to_midi(PIECE).save(tmp_path / "piece.mid")
    file = mido.MidiFile(tmp_path / "piece.mid")
    assert [track.name for track in file.tracks[1:]] == ["soprano", "alto", "tenor", "bass"]
    np.testing.assert_array_equal(heard(file), PIECE)
    assert file.length == pytest.approx(2 * 60 / 80)  # two quarters at 80 a minute


def test_piano_roll_has_a_bar_for_each_note():
    figure = chorales.piano_roll(PIECE, "title")
    (axes,), (legend,) = figure.axes, figure.legends
    bars = [path.get_extents() for bar in axes.collections for path in bar.get_paths()]
    assert len(bars) == 2 + 1 + 1 + 1
    assert {(bar.x0, bar.x1, (bar.y0 + bar.y1) / 2) for bar in bars} >= {(0, 1, 72), (1, 2, 74), (0, 2, 67), (1, 2, 59)}
    assert [text.get_text() for text in legend.get_texts()] == ["soprano", "alto", "tenor", "bass"]


def test_hold_bits_by_a_plain_loop():
    known, held_out = "mf]Zmf]Zme]Z" * 5, "mf]Zmf]-"
    before, now = pitches_of(known), pitches_of(held_out)
    bits = 0.0
    for voice in range(4):
        held = (1 + sum(a == b for a, b in zip(before[:-1, voice], before[1:, voice], strict=True))) / (len(before) + 1)
        share = [(sum(before[:, voice] == pitch) + 0.01) / (len(before) + 1.28) for pitch in now[:, voice]]
        bits -= np.log2(share[0])
        bits -= np.log2((1 - held) * share[1] + held * (now[1, voice] == now[0, voice]))
    assert chorales.hold_bits_per_step(known, held_out) == pytest.approx(bits / 2)


def test_first_piece_ends_at_an_empty_line():
    assert chorales.first_chorale("\n\nmf]Z\nmf]Z\n\nmmmm") == "mf]Z\nmf]Z"


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    path = tmp_path_factory.mktemp("text") / "music.txt"
    path.write_text("\n\n".join(["mf]Zmf]Zme]Zme]Z\n" * 3 + "mf]Zmf]Zmf]Zmf]Z"] * 30))
    return path


def test_a_run_scores_steps_and_writes_music(text, tmp_path, run_experiment):
    folder = tmp_path / "run"
    tiny = ["--hidden_size=8", "--batch_size=4", "--length=17", "--epochs=0.2", "--characters=170", "--devices=1"]
    run_experiment(chorales, f"--text={text}", f"--run_folder={folder}", *tiny)
    result = json.loads((folder / "result.json").read_text())
    assert set(result["scores"]) == {"bits per step"}
    assert set(result["baselines"]) == {
        "bits per step, PPMd of order 8",
        "bits per step, PPMd of order 16",
        "bits per step, held or redrawn notes",
    }
    assert (folder / "music.png").stat().st_size > 1000
    first = (folder / "music.mid").read_bytes()
    assert first.startswith(b"MThd")
    run_experiment(chorales, f"--run_folder={folder}", "--sample_only", "--seed=3", "--characters=170")
    assert (folder / "music.mid").read_bytes() != first
    mido.MidiFile(folder / "music.mid")
