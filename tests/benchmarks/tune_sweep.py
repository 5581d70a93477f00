"""Whether `qtriton tune` finds what an exhaustive sweep of all allocations finds, and in how much less time.

    python tests/benchmarks/tune_sweep.py model_repository --model NAME --p99 500 [--clients 4 | --rate R]

The sweep serves every allocation of this machine on one server and measures them in turns, in an order that is
reversed every other round, so that a machine that slows down slows all of them. Then `qtriton tune --dry-run` gets a
tenth of the time that the sweep took, or 5 minutes where that is less; what it took is printed. At last the choice of
both is measured once more, in turns, so that neither is judged by the figures that it was chosen by: the ratio is the
median of the rounds' ratios, with the lowest and the highest in brackets. The default sweep of two cores takes
24 x 12 x 10 s, 48 minutes; one of fewer and shorter windows only shows that the script works.

What limits it: in a window of 5 s an ensemble of 50 requests/s answers 250 times, whose p99 is the third largest.
Medians of rounds bear with what interrupts one of them, not with a machine that is busy throughout: run it on a quiet
one.
"""

import argparse
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Final

import psutil

from qtriton import console, machine
from qtriton.errors import QtritonError
from qtriton.operate.bench import images_of
from qtriton.report.tables import Table
from qtriton.repository.tuned import Allocation, TriedAllocation
from qtriton.tuning.choice import best, keeps
from qtriton.tuning.load import Load
from qtriton.tuning.measuring import in_turns, tried_of
from qtriton.tuning.options import FEWEST_MINUTES, TuneOptions
from qtriton.tuning.predict import Prediction
from qtriton.tuning.rig import rig
from qtriton.tuning.run import TuneResult, load_of, tune
from qtriton.tuning.space import Space
from qtriton.tuning.subject import Subject
from qtriton.tuning.window import Window
from qtriton.workspace import Workspace
from qtriton_client import ClientError, read_images

#: The bars: a choice so near the best of the sweep, in such a part of its time.
BAR_RATIO: Final = 0.95
BAR_TIME: Final = 0.1
#: What tune takes by default.
MINUTES: Final = 5.0
HEADERS: Final = ("Preprocess", "Runtime", "Threads", "Batches", "Postprocess", "requests/s", "p99 ms", "")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("repository", type=Path)
    parser.add_argument("--model", required=True, help="a model or an ensemble")
    parser.add_argument("--p99", type=float, required=True, help="milliseconds")
    parser.add_argument("--clients", type=int)
    parser.add_argument("--rate", type=float)
    parser.add_argument("--images", type=Path, help="a folder (that of the build)")
    parser.add_argument("--rounds", type=int, default=12, help="of the sweep (%(default)s)")
    parser.add_argument("--seconds", type=float, default=10.0, help="of each window (%(default)g)")
    parser.add_argument("--again", type=int, default=12, help="rounds of what both chose (%(default)s)")
    given = parser.parse_args()
    if min(given.rounds, given.again) < 2 or given.seconds < 1:
        parser.error("--rounds and --again are at least 2, --seconds at least 1")
    try:
        compare(given)
    except (QtritonError, ClientError) as error:
        console.fail(str(error))
        return error.exit_code
    return 0


def compare(given: argparse.Namespace) -> None:
    options = TuneOptions(given.p99, given.clients, given.rate, MINUTES, given.images, dry_run=True)
    subject, load = Subject.open(given.repository, given.model), load_of(options, machine.cores())
    workspace = Workspace.default()
    folder = given.images or images_of(
        subject.repository, subject.manifest.model, [subject.ensemble], workspace, console
    )
    images = read_images(folder)
    free = psutil.virtual_memory().available
    space = Space.of(machine.cores(), subject.max_batch, load.clients, subject.instance_bytes, free)
    every = list(dict.fromkeys((subject.before, *space.allocations())))
    began_s = time.monotonic()
    swept = rows_of(measured(subject, every, images, load, given.rounds, given.seconds, workspace))
    sweep_s = time.monotonic() - began_s
    winner = best(swept, load, given.p99, subject.before) or max(swept, key=lambda each: each.throughput_rps)
    minutes = max(FEWEST_MINUTES, min(MINUTES, BAR_TIME * sweep_s / 60))
    began_s = time.monotonic()
    found = tune(
        given.repository,
        subject.ensemble,
        TuneOptions(given.p99, load.clients, load.rate, minutes, given.images, dry_run=True),
        workspace,
        console,
    )
    tune_s = time.monotonic() - began_s
    chosen = found.tuning.chosen
    pair = list(dict.fromkeys((winner.allocation, chosen)))
    windows = measured(subject, pair, images, load, given.again, given.seconds, workspace)
    report(swept, winner, found, load, given.p99)
    judge(windows, winner.allocation, chosen, load, given.p99)
    console.text(f"Sweep {sweep_s:.0f} s, tune {tune_s:.0f} s: {tune_s / sweep_s:.3f} of it (bar: {BAR_TIME:g}).")


def measured(
    subject: Subject,
    every: Sequence[Allocation],
    images: Sequence[bytes],
    load: Load,
    rounds: int,
    seconds: float,
    workspace: Workspace,
) -> Mapping[Allocation, Sequence[Window]]:
    """Allocations on one server, in turns."""
    with (
        workspace.scratch() as scratch,
        rig(subject, [], every, images, scratch / "sweep", console) as running,
        console.progress(f"{subject.ensemble}: {len(every)} allocations in turns") as progress,
    ):
        return in_turns(running, every, load, rounds, seconds, progress)


def rows_of(windows: Mapping[Allocation, Sequence[Window]]) -> list[TriedAllocation]:
    """The figures of each allocation, as tune has them."""
    return [tried_of(Prediction(each, 0.0, 0.0), found) for each, found in windows.items()]


def report(
    swept: Iterable[TriedAllocation], winner: TriedAllocation, found: TuneResult, load: Load, budget_ms: float
) -> None:
    roles = {"sweep": winner.allocation, "tune": found.tuning.chosen, "before": found.tuning.before}
    rows = []
    for each in sorted(swept, key=lambda each: -each.throughput_rps):
        said = [name for name, allocation in roles.items() if allocation == each.allocation]
        said += [] if keeps(each, load, budget_ms) else ["over the budget"]
        one = each.allocation
        batches = "yes" if one.batching else "no"
        counts = (str(one.preprocess), str(one.runtime), str(one.threads), batches, str(one.postprocess))
        rows.append((*counts, f"{each.throughput_rps:.1f}", f"{each.p99_ms:.1f}", ", ".join(said)))
    title = f"{found.ensemble}, {load}, p99 within {budget_ms:g} ms, {machine.cpu().model}, {machine.cores()} cores"
    console.text(Table(title, HEADERS, tuple(rows)).markdown())


def judge(
    windows: Mapping[Allocation, Sequence[Window]], winner: Allocation, chosen: Allocation, load: Load, budget_ms: float
) -> None:
    """Both choices measured again: of clients by their throughput, at a rate by the p99."""
    pairs = zip(windows[chosen], windows[winner], strict=True)
    if load.rate is None:
        ratios = [one.throughput_rps / other.throughput_rps for one, other in pairs]
    else:
        ratios = [other.percentile_ms(99) / one.percentile_ms(99) for one, other in pairs]
    what = "throughput" if load.rate is None else "p99, the sweep's over tune's"
    (again,) = [each for each in rows_of(windows) if each.allocation == chosen]
    same = ", which is the same allocation" if chosen == winner else ""
    spread = f"{median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f})"
    kept = "within" if keeps(again, load, budget_ms) else "NOT within"
    console.text(f"\nTune's choice over the sweep's{same}, measured again: {what} {spread} (bar: {BAR_RATIO:g}).")
    console.text(
        f"Its p99 measured again: {again.p99_ms:.1f} ms of {again.requests} requests, {kept} {budget_ms:g} ms, "
        f"at {again.throughput_rps:.1f} requests/s."
    )


if __name__ == "__main__":
    sys.exit(main())
