"""A published repository as everything reads it: its models, the ensembles that qtriton built, and their manifests."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qtriton.errors import InputError, RepositoryError
from qtriton.repository.manifest import Manifest
from qtriton.repository.naming import CONFIG, RELEASE, VERSION, runtime_of
from qtriton.repository.record import PublishRecord, read_record
from qtriton.repository.render import parse_config
from qtriton.repository.tuned import Tuning
from qtriton.workspace import sha256_file


def count_instances(config: Any) -> int:
    """The instances that a ModelConfig message asks for: none of an ensemble, two where nothing is said on a CPU."""
    if config.platform == "ensemble" or config.HasField("ensemble_scheduling"):
        return 0
    return sum(group.count or 2 for group in config.instance_group) or 2


def require_no_release(repository: Path) -> None:
    """See that a repository may be changed: a release would be served under the name of what it was.

    Raises:
        RepositoryError: it is a release.
    """
    if (repository / RELEASE).exists():
        raise RepositoryError(
            f"{repository}: a release, which never changes ({RELEASE} is in it). Change the repository that it was "
            "published from, and publish that; or name another folder."
        )


@dataclass(frozen=True)
class Repository:
    """A folder that exists and can be read; `open` makes one."""

    path: Path

    @classmethod
    def open(cls, path: Path) -> Repository:
        """The repository in a folder.

        Raises:
            InputError: there is no such folder, or it cannot be read.
        """
        if path.exists() and not path.is_dir():
            raise InputError(f"{path}: a file, not a folder. Name the model repository.")
        if not path.is_dir():
            raise InputError(f"{path}: no such folder. Name the model repository; `qtriton build` publishes one.")
        if not os.access(path, os.R_OK | os.X_OK):
            raise InputError(f"{path}: Permission denied. User {os.getuid()} needs the right to it.")
        return cls(path)

    def models(self) -> tuple[Path, ...]:
        """The folders that Triton takes for models, by name.

        Raises:
            RepositoryError: there is none.
        """
        folders = sorted(path for path in self.path.iterdir() if path.is_dir() and not path.name.startswith("."))
        if not folders:
            raise RepositoryError(
                f"{self.path}: holds no model. Publish one with `qtriton build`, or name another folder."
            )
        return tuple(folders)

    def version(self, model: str) -> Path:
        """The version folder of a model."""
        return self.path / model / VERSION

    def configs(self) -> Iterator[tuple[str, Any]]:
        """Each model with its ModelConfig message; None where that cannot be read, and Triton says why."""
        for path in sorted(self.path.glob(f"*/{CONFIG}")):
            try:
                yield path.parent.name, parse_config(path.read_text(errors="replace"), path.parent.name)
            except (OSError, RepositoryError):
                yield path.parent.name, None

    def records(self) -> dict[str, PublishRecord]:
        """What was published by qtriton, by ensemble."""
        folders = sorted(path.name for path in self.path.iterdir() if path.is_dir())
        records = ((name, read_record(self.version(name))) for name in folders)
        return {name: record[0] for name, record in records if record is not None}

    def ensembles(self, names: Iterable[str] = ()) -> dict[str, str]:
        """The ensembles that qtriton built, each with the model that it is a variant of.

        Args:
            names: models or ensembles; none means all.

        Raises:
            RepositoryError: qtriton built nothing in it.
            InputError: it has no model or ensemble of such a name.
        """
        every = {name: record.model for name, record in self.records().items()}
        if not every:
            raise RepositoryError(
                f"{self.path}: holds no ensemble that qtriton built. Publish one with `qtriton build`, or name another "
                "folder."
            )
        selection = set(names)
        if unknown := sorted(selection - set(every) - set(every.values())):
            models = ", ".join(sorted(set(every.values())))
            raise InputError(
                f"{self.path}: has no {', '.join(unknown)}; it has {models}. Build it with `qtriton build "
                f"{unknown[0]}`, or name another folder."
            )
        return {
            name: model for name, model in every.items() if not selection or name in selection or model in selection
        }

    def manifest(self, ensemble: str) -> Manifest:
        """The manifest of an ensemble's artifact.

        Raises:
            RepositoryError: another qtriton built it, or its manifest is gone or broken.
        """
        folder = self.version(runtime_of(ensemble))
        try:
            return Manifest.read(folder)
        except (OSError, ValueError) as error:
            model = self.records()[ensemble].model if ensemble in self.records() else ensemble
            raise RepositoryError(
                f"{self.path}: {ensemble} was built by another qtriton. Build it again: qtriton build {model}"
            ) from error

    def manifests(self, name: str) -> dict[str, Manifest]:
        """The manifests of a model's ensembles, or of the one ensemble that is named, by ensemble.

        Raises:
            RepositoryError: qtriton built nothing in it, or another qtriton did.
            InputError: it has no such model.
        """
        return {ensemble: self.manifest(ensemble) for ensemble in self.ensembles([name])}

    def tuned(self, model: str) -> dict[str, Tuning]:
        """What `qtriton tune` set of a model, by ensemble."""
        found = {}
        for name, record in self.records().items():
            with suppress(RepositoryError):  # of another qtriton
                if record.model == model and (tuning := self.manifest(name).tuning) is not None:
                    found[name] = tuning
        return found

    def is_untouched(self, files: Mapping[str, str]) -> bool:
        """Whether files, by their paths in the repository, still have the SHA-256 that they were published with."""
        paths = ((self.path / name, sha256) for name, sha256 in files.items())
        return all(path.is_file() and sha256_file(path) == sha256 for path, sha256 in paths)
