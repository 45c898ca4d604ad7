"""One stream of four voices: a language model of chorales, and music sampled from it.

    python -m experiments.chorales

The script trains the model of `experiments.language_model` on chorales of J. S. Bach, transposed into all twelve keys.
In the notation of the data set, a character is the pitch of one voice during one sixteenth note. The script reports the
bits per step of the model and of PPMd's n-gram models on held-out chorales, where a step is a sixteenth note in all
four voices. It writes the model's music to the run folder, as `music.mid` and, if matplotlib is installed, as the
piano roll `music.png`.

    --dataset=NAME          train on another TFDS data set of text in the same notation
    --sample_only --run_folder=FOLDER --seed=1
                            write different music with a trained model

The default run takes 0.8 minutes on two cores and reaches 2.595 bits per step; the best baseline, PPMd of order 16,
reaches 3.104.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import numpy as np
from jaxtyping import Int

from experiments import language_model
from experiments.baselines import compressors
from experiments.datasets.chorales.chorales import STEPS_PER_QUARTER, pitches_of, transpose
from experiments.harness import folder
from experiments.harness.launch import launch
from experiments.harness.task import Task, Test
from experiments.harness.train import train
from seqjax import data
from seqjax.data.text import DOCUMENT_BREAK

if TYPE_CHECKING:
    import mido
    from matplotlib.figure import Figure

KEYS = (-5, 7)  # transpositions in semitones, upper end excluded: the smallest that reach all twelve keys
BEATS_PER_MINUTE = 80
VOICES = ("soprano", "alto", "tenor", "bass")
CHOIR = 52  # General MIDI program, counted from 0


@dataclass(frozen=True)
class Settings(language_model.Settings):
    """The settings of the language model, with different defaults."""

    dataset: str = "chorales"
    length: int = 68  # four quarters
    epochs: float = 1.5  # an epoch contains every chorale in all twelve keys
    learning_rate: float = 8e-3
    characters: int = 17 * 64  # 64 quarters
    prompt: str | None = DOCUMENT_BREAK
    temperature: float = 0.8


def in_all_keys(text: str) -> str:
    """Transposes a text to all twelve keys and joins the results; the original key is last."""
    return DOCUMENT_BREAK.join(transpose(text, semitones) for semitones in sorted(range(*KEYS), key=abs, reverse=True))


def first_chorale(text: str) -> str:
    """Returns the text before the first empty line, without newlines at either end."""
    return text.strip("\n").split(DOCUMENT_BREAK)[0]


def hold_bits_per_step(known: str, held_out: str) -> float:
    """Computes the bits per step of a baseline in which each voice holds its note or redraws it.

    The probabilities of holding and of each note are their frequencies in the `known` text, counted separately for each
    voice.

    >>> round(hold_bits_per_step("mf]Zmf]Z" * 8, "mf]Zmf]Z"), 2)
    0.23
    """
    scored = pitches_of(held_out)
    bits = 0.0
    for voice, now in zip(pitches_of(known).T, scored.T, strict=True):
        held = (np.sum(voice[1:] == voice[:-1]) + 1) / (len(voice) + 1)  # below 1, so holding is never certain
        counts = np.bincount(voice, minlength=128) + 0.01  # no note is impossible
        share = (counts / counts.sum())[now]
        stays = now[1:] == now[:-1]
        bits -= np.log2(share[0]) + np.log2(held * stays + (1 - held) * share[1:]).sum()
    return float(bits) / len(scored)


def to_midi(pitches: Int[np.ndarray, "T 4"]) -> "mido.MidiFile":
    """Makes a MIDI file: a tempo track, then a track for each voice, in which repeated pitches are one held note.

    >>> [message.type for message in to_midi(np.array([[60, 0, 0, 48], [60, 0, 0, 50]])).tracks[1]]
    ['track_name', 'program_change', 'note_on', 'note_off', 'end_of_track']
    """
    import mido

    file = mido.MidiFile()
    tempo = mido.MetaMessage("set_tempo", tempo=mido.bpm2tempo(BEATS_PER_MINUTE))
    file.tracks.append(mido.MidiTrack([tempo, mido.MetaMessage("end_of_track")]))
    ticks_per_step = file.ticks_per_beat // STEPS_PER_QUARTER
    for channel, (name, voice) in enumerate(zip(VOICES, pitches.T, strict=True)):
        track = mido.MidiTrack([mido.MetaMessage("track_name", name=name)])
        track.append(mido.Message("program_change", channel=channel, program=CHOIR))
        rest = 0  # ticks since the last note
        for pitch, steps in _notes(voice):
            ticks = steps * ticks_per_step
            if pitch:
                track.append(mido.Message("note_on", channel=channel, note=pitch, time=rest))
                track.append(mido.Message("note_off", channel=channel, note=pitch, time=ticks))
            rest = 0 if pitch else rest + ticks
        track.append(mido.MetaMessage("end_of_track", time=rest))
        file.tracks.append(track)
    return file


def piano_roll(pitches: Int[np.ndarray, "T 4"], title: str) -> "Figure":
    """Draws each note as a bar over time, with one colour for each voice."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.6, 4.0), layout="constrained")
    axes = figure.add_subplot()
    for name, voice, colour in zip(VOICES, pitches.T, ("C3", "C1", "C2", "C0"), strict=True):
        start, label = 0, name
        for pitch, steps in _notes(voice):
            if pitch:
                quarter, length = start / STEPS_PER_QUARTER, steps / STEPS_PER_QUARTER
                axes.broken_barh([(quarter, length)], (pitch - 0.4, 0.8), color=colour, edgecolor="white", label=label)
                label = None  # the legend names each voice once
            start += steps
    octaves = range(36, 85, 12)
    axes.set_yticks(octaves, [f"C{pitch // 12 - 1}" for pitch in octaves])
    axes.set(
        xlabel="time (quarter notes)", ylabel="pitch", title=title, xlim=(0, max(len(pitches), 1) / STEPS_PER_QUARTER)
    )
    axes.set_xticks(range(0, -(-len(pitches) // STEPS_PER_QUARTER) + 1, 4))
    axes.grid(alpha=0.3)
    if len(pitches):
        figure.legend(loc="outside upper right", ncols=len(VOICES))  # where it covers no note
    return figure


def _notes(voice: Int[np.ndarray, " T"]) -> list[tuple[int, int]]:
    """Joins equal consecutive pitches; returns each pitch with its number of steps."""
    starts = np.flatnonzero(np.concatenate([[True], voice[1:] != voice[:-1]])[: len(voice)])
    return [
        (int(voice[start]), int(steps)) for start, steps in zip(starts, np.diff(starts, append=len(voice)), strict=True)
    ]


def make_task(settings: Settings, splits: data.TextSplits) -> Task:
    """Makes the task of training a language model on chorales in all keys, scored in bits per step."""
    task = language_model.make_task(settings, splits._replace(train=in_all_keys(splits.train)))
    known = splits.train + DOCUMENT_BREAK + splits.validation
    characters_per_step = len(splits.test) / len(pitches_of(splits.test))

    def test(params: Any) -> dict[str, float]:
        return {"bits per step": characters_per_step * task.test.scores(params)["bits per character"]}

    def baselines() -> dict[str, float]:
        known_in_all_keys = in_all_keys(known)
        ngrams = {
            f"bits per step, PPMd of order {order}": characters_per_step
            * compressors.ppmd_bits_per_character(known_in_all_keys, splits.test, order=order)
            for order in (8, 16)
        }
        return ngrams | {"bits per step, held or redrawn notes": hold_bits_per_step(known, splits.test)}

    return task._replace(title=f"music in four voices, {settings.dataset}", test=Test(test, baselines))


def write_music(run_folder: Path, settings: Settings) -> None:
    """Samples music from the newest checkpoint of a run; writes `music.mid` and, with matplotlib, `music.png`."""
    trained = language_model.load(run_folder)
    write = language_model.make_writer(trained.model, trained.vocabulary, settings)
    pitches = pitches_of(first_chorale(write(trained.params, jax.random.key(settings.seed))))
    to_midi(pitches).save(run_folder / "music.mid")
    print(f"{len(pitches) / STEPS_PER_QUARTER:.0f} quarter notes of music are in {run_folder / 'music.mid'}")
    if folder.plots_are_possible():
        piano_roll(pitches, "a chorale by the model").savefig(run_folder / "music.png", dpi=120)


def main(settings: Settings) -> None:
    if settings.sample_only:
        folder.newest(settings.run_folder, "chorales")
        run_folder = Path(settings.run_folder)
    else:
        run_folder = train(make_task(settings, language_model.read_splits(settings)), settings, "chorales")
    write_music(run_folder, settings)


if __name__ == "__main__":
    launch(main, Settings, needs=("array_record", "mido", "pyppmd"))
