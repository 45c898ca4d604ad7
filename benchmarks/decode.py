"""How fast is the search itself? Beam search on an LSTM with attention, compared with its limit and other decoders.

    python -m benchmarks.decode --out=decode.md

decodes with hidden size 512, vocabulary 8,000, 40 source and 40 target positions. All run the model of `decode_model`:

- limit: a scan of the step over the same number of rows, with given tokens and no search.
- beam search, greedy search: `seqjax.beam_search` and `seqjax.greedy_search`.
- keras_hub: its beam sampler around the same step on JAX, in a separate virtual environment.
- Python loop: a beam search as people often write it, around a jitted step.
- torch: an LSTMCell and a hand-written batched beam search.

Each library has its own process. XLA's CPU backend uses YNNPACK for matrix products and reductions, but YNNPACK is
faster only for products with many rows. So with few rows (batch x beam), all decoders on JAX, including the limit, use
it only for reductions: `XLA_FLAGS=--xla_cpu_experimental_ynn_fusion_type=reduce`.

Before the timing, all decoders must find the same tokens on a small case. Times exclude compilation. The decoders take
turns, and a ratio is the median over the rounds, so that a disturbance in one round affects both sides of it. No
sequence ends before 40 tokens, unless the report says so.
"""

import contextlib
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import jax
import numpy as np
from absl import app, flags

from benchmarks import decode_jax
from benchmarks.decode_model import Sizes
from benchmarks.peer import Peer, peer
from benchmarks.report import machine, table, versions
from benchmarks.turns import take_turns

flags.DEFINE_list("batches", ["1", "16", "64"], "Batch sizes.")
flags.DEFINE_list("beams", ["1", "5", "10"], "Beam sizes.")
flags.DEFINE_integer("repeats", 7, "Number of rounds at each point.", lower_bound=1)
flags.DEFINE_string("keras_python", None, "Python with keras_hub, jax and jaxtyping; by default, that of --cache.")
flags.DEFINE_string("cache", "~/.cache/seqjax/keras_hub", "Virtual environment with keras_hub, created if missing.")
flags.DEFINE_string("out", None, "Markdown file for the report.")

SMALL = Sizes(hidden=48, vocabulary=130, source=7, target=9)
FEW_ROWS = 48  # up to this many rows, the products of YNNPACK are slower for this model
YNNPACK_REDUCES = {"XLA_FLAGS": "--xla_cpu_experimental_ynn_fusion_type=reduce"}
LONG_SOURCE = 400  # positions; makes a copied context visible in the memory
Contestant = Callable[..., dict]


def keras_python(python: str | None, cache: str) -> str:
    """Returns a Python that has keras_hub: `python`, or that of a virtual environment, created if missing.

    Raises:
      OSError, subprocess.CalledProcessError: the environment cannot be created.
    """
    if python is not None:
        return python
    folder = Path(cache).expanduser()
    python = str(folder / "bin" / "python")
    if not Path(python).exists():
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    packages = [f"jax=={jax.__version__}", "jaxtyping", "keras-hub"]  # installs nothing that is already there
    subprocess.run([python, "-m", "pip", "install", "--quiet", *packages], check=True)
    return python


def jax_contestants(process: Peer) -> dict[str, Contestant]:
    """Returns the decoders of `decode_jax`, by their names in the table."""
    names = ("limit", "beam search", "greedy search", "Python loop")
    return {name: partial(process.ask, what=name.lower().replace(" ", "_")) for name in names}


def check_agreement(contestants: dict[str, Contestant]) -> None:
    """Raises ValueError unless all decoders that search find the same tokens."""
    for batch, beam in (3, 1), (3, 4):
        point = {"sizes": SMALL._asdict(), "batch": batch, "beam": beam}
        names = [name for name in contestants if name != "limit" and (beam == 1 or name != "greedy search")]
        found = {name: contestants[name](**point)["result"] for name in names}
        for name, tokens in found.items():
            if tokens != found["beam search"]:
                raise ValueError(
                    f"{name} finds {tokens} but beam search finds {found['beam search']} at beam size {beam}"
                )


def compare(contestants: dict[str, Contestant], batch: int, beam: int, repeats: int) -> dict[str, np.ndarray]:
    point = {"sizes": Sizes()._asdict(), "batch": batch, "beam": beam}
    chosen = {name: ask for name, ask in contestants.items() if beam == 1 or name != "greedy search"}
    return take_turns({name: partial(ask, **point) for name, ask in chosen.items()}, repeats).seconds


def report_points(measured: dict[tuple[int, int], dict[str, np.ndarray]], names: list[str]) -> str:
    """Writes sentences per second, and the ratios of the times."""
    peers = [name for name in names if name not in ("limit", "beam search", "greedy search")]
    header = ["batch", "beam", *names, "beam search / limit", "greedy search / limit"]
    header += [f"{name} / beam search" for name in peers]
    rows = []
    for (batch, beam), seconds in measured.items():

        def ratio(above: str, below: str, seconds: dict = seconds) -> str:
            return f"{np.median(seconds[above] / seconds[below]):.2f}" if above in seconds else "-"

        speeds = [f"{batch / np.median(seconds[name]):.1f}" if name in seconds else "-" for name in names]
        ratios = [ratio("beam search", "limit"), ratio("greedy search", "limit")]
        rows.append([str(batch), str(beam), *speeds, *ratios, *(ratio(name, "beam search") for name in peers)])
    return "Sentences per second, then ratios of times:\n\n" + table(header, rows)


def report_growth(measured: dict[tuple[int, int], dict[str, np.ndarray]]) -> str:
    """Fits how the time of beam search grows with the rows (batch x beam); linear growth has exponent 1."""
    rows = np.array([batch * beam for batch, beam in measured])
    seconds = np.array([np.median(each["beam search"]) for each in measured.values()])
    if len(set(rows)) < 2:
        return ""
    exponent, constant = np.polyfit(np.log(rows), np.log(seconds), 1)
    return f"Beam search takes about {np.exp(constant):.3f} s x rows^{exponent:.2f} for batch x beam rows."


def report_ends(ask: Contestant, batch: int, beam: int, repeats: int) -> str:
    """Reports how the time falls if all sequences end earlier."""
    sizes = Sizes()
    point = {"what": "ending_beam_search", "sizes": sizes._asdict(), "batch": batch, "beam": beam}
    ends = sizes.target // 4, sizes.target // 2, sizes.target
    seconds = take_turns({str(end): partial(ask, **point, end=end) for end in ends}, repeats).seconds
    whole = seconds[str(sizes.target)]
    lines = [[end, f"{np.median(each):.3f}", f"{np.median(each / whole):.2f}"] for end, each in seconds.items()]
    header = ["all end after", "seconds", "share of the full time"]
    return f"Batch {batch}, beam {beam}, maximum length {sizes.target}:\n\n" + table(header, lines)


def report_memory(batch: int = 16) -> str:
    """Reports the memory of the search, which does not copy its context for each hypothesis."""
    sizes = Sizes(source=LONG_SOURCE)
    context = 2 * batch * sizes.source * sizes.hidden * 4
    used = {beam: decode_jax.memory(sizes, batch, beam) for beam in (1, 10)}
    lines = [[str(beam), f"{each / 1e6:.1f}", f"{each / batch / beam / 1e6:.2f}"] for beam, each in used.items()]
    title = f"""Memory beyond the arguments, with batch {batch} and {sizes.source} source positions. The context takes
{context / 1e6:.0f} MB; a copy for each hypothesis would take {10 * context / 1e6:.0f} MB at beam 10:"""
    return f"{title}\n\n" + table(["beam", "MB", "MB per hypothesis"], lines)


def main(argv: list[str]) -> None:
    args = flags.FLAGS
    batches, beams = ([int(each) for each in values] for values in (args.batches, args.beams))
    settings = {False: {}, True: YNNPACK_REDUCES}  # by whether there are few rows
    parts = []

    def say(text: str) -> None:
        parts.append(text)
        print(text, end="\n\n", flush=True)

    with contextlib.ExitStack() as stack:
        torch = stack.enter_context(peer("benchmarks.decode_torch"))
        ours = {few: stack.enter_context(peer("benchmarks.decode_jax", env=env)) for few, env in settings.items()}
        peers = [ours[False], torch]
        contestants = {few: jax_contestants(each) | {"torch": torch.ask} for few, each in ours.items()}
        try:
            python = keras_python(args.keras_python, args.cache)
            for few, env in settings.items():
                keras = stack.enter_context(peer("benchmarks.decode_keras", python=python, env=env))
                contestants[few]["keras_hub"] = keras.ask
            peers.append(keras)
        except (OSError, RuntimeError, subprocess.CalledProcessError) as error:
            say(f"keras_hub is not in the table, because it could not be started: {error}")

        say(f"{machine()}; {versions(peers)}; medians of {args.repeats} rounds.")
        for each in contestants.values():
            check_agreement(each)
        say("All decoders find the same tokens on a small case.")
        measured = {}
        for batch in batches:
            for beam in beams:
                few = batch * beam <= FEW_ROWS
                measured[batch, beam] = compare(contestants[few], batch, beam, args.repeats)
                medians = {name: f"{np.median(each):.3f} s" for name, each in measured[batch, beam].items()}
                print(f"batch {batch}, beam {beam}: {medians}", flush=True)
        say(report_points(measured, list(contestants[False])))
        say(f"Up to {FEW_ROWS} rows, all decoders on JAX use YNNPACK only for reductions.")
        say(report_growth(measured))
        say(report_ends(ours[False].ask, batches[-1], beams[-1], args.repeats))
    say(report_memory())
    if args.out:
        Path(args.out).write_text("\n\n".join(parts) + "\n")


if __name__ == "__main__":
    app.run(main)
