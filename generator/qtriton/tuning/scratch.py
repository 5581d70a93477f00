"""The repository that is measured: the steps of a subject in many settings, and ensembles of them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from qtriton.repository.naming import CONFIG, VERSION
from qtriton.repository.tree import copy_tree
from qtriton.repository.tuned import Allocation
from qtriton.tuning.setting import Setting, ensemble_of, settings_of
from qtriton.tuning.subject import Subject, written


def write_repository(
    subject: Subject, settings: Iterable[Setting], allocations: Iterable[Allocation], folder: Path
) -> None:
    """Write hard links to the subject's files, beside which only the configs are new."""
    every = {*settings, *(setting for each in allocations for setting in settings_of(each).values())}
    for setting in every:
        message = subject.step(setting.step, setting.instances, setting.threads, setting.batching)
        message.name = setting.name
        _write_model(subject, subject.names[setting.step], message, folder)
    for allocation in allocations:
        names = {step: setting.name for step, setting in settings_of(allocation).items()}
        message = subject.joined(ensemble_of(allocation), allocation.threads, names)
        _write_model(subject, subject.ensemble, message, folder)


def _write_model(subject: Subject, source: str, message: Any, folder: Path) -> None:
    target = folder / message.name
    target.mkdir(parents=True)
    copy_tree(subject.repository.path / source / VERSION, target / VERSION)
    (target / CONFIG).write_text(written(message), encoding="utf-8")
