"""Tune an ensemble: measure its steps, rank every allocation by the model, confirm the best, write the best of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Final

import psutil

from qtriton import machine
from qtriton.errors import BenchError
from qtriton.operate.bench import images_of
from qtriton.progress import SILENT, Reporter
from qtriton.repository.read import Repository, require_no_release
from qtriton.repository.staging import staged
from qtriton.repository.tree import listing
from qtriton.repository.tuned import TriedAllocation, Tuning
from qtriton.tuning.choice import best, candidates, keeps
from qtriton.tuning.load import Load
from qtriton.tuning.measuring import Bench
from qtriton.tuning.options import MOST_CLIENTS, TuneOptions
from qtriton.tuning.predict import predict
from qtriton.tuning.publish import publish
from qtriton.tuning.schedule import Schedule
from qtriton.tuning.space import Space
from qtriton.tuning.subject import Subject
from qtriton.workspace import Workspace
from qtriton_client import read_images

#: Without a load: so many clients for each core keep all of them busy.
CLIENTS_PER_CORE: Final = 2
#: A machine of which so much is busy before anything is measured is not a quiet one.
_BUSY_PERCENT: Final = 15
_LOOK_S: Final = 0.5


@dataclass(frozen=True)
class TuneResult:
    """What was found for an ensemble, and whether its configs say something else now."""

    ensemble: str
    tuning: Tuning
    changed: bool

    def as_json(self) -> dict[str, Any]:
        """The result for programs."""
        return {"ensemble": self.ensemble, "changed": self.changed, **self.tuning.model_dump(mode="json")}


def tune(
    repository: Path, name: str, options: TuneOptions, workspace: Workspace, reporter: Reporter = SILENT
) -> TuneResult:
    """Find the allocation with which an ensemble serves a load best, and write it unless it is a dry run.

    Raises:
        InputError: there is no such folder, model or image, or an option cannot be met.
        RepositoryError: the repository cannot be written or served, or was changed meanwhile.
        UnsupportedError: the ensemble runs on a GPU.
        ServerError: the server does not start, or has ended.
        BenchError: no allocation keeps the p99, or a measurement failed.
        KeyboardInterrupt: with a text that says whether the repository was changed.
    """
    try:
        before = listing(Repository.open(repository).path.resolve())
        subject = Subject.open(repository, name)
        if not options.dry_run:
            require_no_release(repository)
            with staged(repository):
                pass  # what would prevent the change in the end is told now
        tuning = _measure(subject, options, workspace, reporter)
    except KeyboardInterrupt:
        raise KeyboardInterrupt("nothing was changed") from None
    if not options.dry_run:
        publish(subject, tuning, before)
    return TuneResult(subject.ensemble, tuning, not options.dry_run and tuning.chosen != tuning.before)


def _measure(subject: Subject, options: TuneOptions, workspace: Workspace, reporter: Reporter) -> Tuning:
    cores, created, budget_ms = machine.cores(), datetime.now(timezone.utc), options.p99
    load, schedule = load_of(options, cores), Schedule(60 * options.minutes)
    space = Space.of(cores, subject.max_batch, load.clients, subject.instance_bytes, psutil.virtual_memory().available)
    folder = options.images or images_of(
        subject.repository, subject.manifest.model, [subject.ensemble], workspace, reporter
    )
    images = read_images(folder)
    _warn_if_busy(reporter)
    with workspace.scratch() as scratch:
        bench = Bench(subject, images, load, schedule, scratch, reporter)
        profile = bench.profile(space)
        predictions = predict(profile, {*space.allocations(), subject.before}, load)
        confirmed = bench.confirm(predictions, candidates(predictions, load, budget_ms, subject.before), budget_ms)
    winner = best(confirmed.tried, load, budget_ms, subject.before)
    if winner is None:
        raise BenchError(refusal(subject.ensemble, confirmed.tried, load, budget_ms, cores))
    return Tuning(
        created=created.isoformat(timespec="seconds"),
        processor=machine.cpu().model,
        cores=cores,
        clients=load.clients,
        rate=load.rate,
        p99_budget_ms=budget_ms,
        seconds=round(schedule.spent_s, 1),
        before=subject.before,
        chosen=winner.allocation,
        enumerated=len(predictions),
        tried=tuple(sorted(confirmed.tried, key=lambda each: each is not winner)),
        curve=confirmed.curve,
        steps=profile.points,
        not_tried=(*space.not_tried, *confirmed.refused),
    )


def load_of(options: TuneOptions, cores: int) -> Load:
    """The load to tune for."""
    if options.rate is None and options.clients is None:
        return Load(clients=min(MOST_CLIENTS, CLIENTS_PER_CORE * cores))
    return Load(options.clients, options.rate)


def _warn_if_busy(reporter: Reporter) -> None:
    busy = psutil.cpu_percent(interval=_LOOK_S)
    if busy > _BUSY_PERCENT:
        reporter.warn(
            f"{busy:.0f} % of this machine is busy with something else, and what is measured will be of a busy one. "
            "End what runs beside, a server on this repository too."
        )


def refusal(ensemble: str, tried: Sequence[TriedAllocation], load: Load, budget_ms: float, cores: int) -> str:
    """Why nothing is written where no allocation keeps the p99 of its budget."""
    up = [each for each in tried if keeps(each, load, math.inf)]
    less = "a lower --rate" if load.rate is not None else "fewer --clients"
    machine_told = f"{cores} core{'s' * (cores > 1)}"
    if not up:
        most = max(each.throughput_rps for each in tried)
        return (
            f"{ensemble}: no allocation of {machine_told} keeps up with {load}; the most was {most:.1f} requests/s. "
            f"Nothing was changed. Ask for {less}, or serve on more cores."
        )
    nearest = min(up, key=lambda each: each.p99_ms)
    return (
        f"{ensemble}: no allocation of {machine_told} keeps the p99 within {budget_ms:g} ms at {load}; the best that "
        f"was measured is {nearest.p99_ms:.1f} ms, with {nearest.allocation}. Nothing was changed. Pass --p99 "
        f"{math.ceil(1.1 * nearest.p99_ms)}, ask for {less}, or serve on more cores."
    )
