"""A release: what it holds, what it is called, and whether all of it is in a store."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from qtriton.errors import InputError, RepositoryError
from qtriton.releases.content import NAME, LocalFile
from qtriton.releases.store import Store, Stored
from qtriton.repository.naming import RELEASE

#: Where releases lie in a destination.
FOLDER: Final = "releases"
#: So much of an identifier is shown, and at least so much is to be given.
SHOWN, LEAST = 12, 6
#: The name of a release: the SHA-256 of its RELEASE.json, which so holds nothing but the content.
ID: Final = re.compile(r"[0-9a-f]{64}")


class ReleaseFile(BaseModel):
    """A file of a release."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: Annotated[str, Field(pattern=rf"^{NAME.pattern}(/{NAME.pattern})*$")]
    #: In bytes.
    size: Annotated[int, Field(ge=0)]
    sha256: Annotated[str, Field(pattern=rf"^{ID.pattern}$")]


class Release(BaseModel):
    """The content of a RELEASE.json: every file, by path."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal[1] = 1
    files: tuple[ReleaseFile, ...]

    @classmethod
    def of(cls, files: Iterable[LocalFile]) -> Release:
        """The release of a repository's files."""
        rows = (ReleaseFile(path=file.path, size=file.size, sha256=file.sha256) for file in files)
        return cls(files=tuple(sorted(rows, key=lambda file: file.path)))

    @classmethod
    def parse(cls, data: bytes, release_id: str) -> Release:
        """Read a RELEASE.json.

        Raises:
            ValueError: it is not what completes the release of that name.
        """
        if hashlib.sha256(data).hexdigest() != release_id:
            raise ValueError(f"its {RELEASE} was changed: it has another SHA-256 than the release's name")
        try:
            release = cls.model_validate_json(data)
        except ValidationError as error:
            raise ValueError(f"its {RELEASE} is of another qtriton") from error
        if any(part in (".", "..") for file in release.files for part in file.path.split("/")):
            raise ValueError(f"its {RELEASE} names a file outside of it")
        return release

    @property
    def data(self) -> bytes:
        """The bytes of RELEASE.json."""
        return (self.model_dump_json(indent=1) + "\n").encode()

    @property
    def id(self) -> str:
        """Its name: the SHA-256 of RELEASE.json, in hex."""
        return hashlib.sha256(self.data).hexdigest()

    @property
    def bytes(self) -> int:
        """The size of all files."""
        return sum(file.size for file in self.files)


@dataclass(frozen=True)
class StoredRelease:
    """A folder of releases/, whole or not."""

    id: str
    objects: tuple[Stored, ...]
    #: None where it is not complete.
    release: Release | None
    #: Why it is not whole; "" where it is.
    problem: str

    @property
    def whole(self) -> bool:
        """Whether every file of it is there, in the size that it must have."""
        return not self.problem

    @property
    def content(self) -> Release:
        """The files of a whole release."""
        assert self.release is not None
        return self.release

    @property
    def others(self) -> tuple[str, ...]:
        """Objects that are no part of it."""
        return others(self.release, (each.key for each in self.objects)) if self.release else ()

    @property
    def bytes(self) -> int:
        """The size of all objects."""
        return sum(each.size for each in self.objects)

    @property
    def modified(self) -> datetime:
        """When its last object was written; of a whole one, when it was completed."""
        last = (each.modified for each in self.objects if each.key == completion_of(self.id))
        return next(last, max(each.modified for each in self.objects))


def folder_of(release_id: str) -> str:
    """Where a release lies in a destination."""
    return f"{FOLDER}/{release_id}"


def completion_of(release_id: str) -> str:
    """Where its RELEASE.json lies."""
    return f"{folder_of(release_id)}/{RELEASE}"


def stored_releases(store: Store, folder: str = FOLDER) -> tuple[StoredRelease, ...]:
    """The releases in a store, by name, each held against its RELEASE.json; or the one in a folder."""
    objects = sorted(store.listing(folder), key=lambda each: each.key)
    found = []
    for name, group in groupby(objects, key=lambda each: each.key.split("/")[1]):
        if ID.fullmatch(name):
            found.append(_judged(store, name, tuple(group)))
    return tuple(found)


def _judged(store: Store, release_id: str, objects: tuple[Stored, ...]) -> StoredRelease:
    content = store.get(completion_of(release_id))
    if content is None:
        return StoredRelease(release_id, objects, None, "not complete")
    try:
        release = Release.parse(content.data, release_id)
    except ValueError as error:
        return StoredRelease(release_id, objects, None, str(error))
    sizes = {each.key: each.size for each in objects}
    return StoredRelease(release_id, objects, release, damage(release, sizes))


def damage(release: Release, sizes: Mapping[str, int]) -> str:
    """What of a release is not in a store as it must be; "" where all is."""
    expected = {f"{folder_of(release.id)}/{file.path}": file.size for file in release.files}
    for key, size in expected.items():
        if key not in sizes:
            return f"{key} is missing"
        if sizes[key] != size:
            return f"{key} has {sizes[key]} bytes, not {size}"
    return ""


def others(release: Release, keys: Iterable[str]) -> tuple[str, ...]:
    """The objects in the folder of a release that are no part of it; tritonserver would read them, a fetch does not."""
    own = {f"{folder_of(release.id)}/{file.path}" for file in release.files} | {completion_of(release.id)}
    return tuple(sorted(set(keys) - own))


def refuse_others(store: Store, keys: tuple[str, ...]) -> None:
    """Raises RepositoryError where there are objects in a release that are no part of it."""
    if keys:
        raise RepositoryError(
            f"{store.url}: {keys[0]} is no part of the release that it lies in, but tritonserver would read it. Remove "
            "it, then run this again."
        )


def named(store: Store, name: str) -> StoredRelease:
    """The whole release that a name, or the beginning of one, means.

    Raises:
        InputError: there is none, there are several, or it is too short.
        RepositoryError: it is not whole.
    """
    if not re.fullmatch(f"[0-9a-f]{{{LEAST},64}}", name):
        raise InputError(
            f"{name}: not the name of a release. Give the first {LEAST} or more of its digits, as "
            f"`qtriton releases list {store.url}` prints them."
        )
    if ID.fullmatch(name):
        matches = stored_releases(store, folder_of(name))
    else:
        matches = tuple(each for each in stored_releases(store) if each.id.startswith(name))
    if not matches:
        raise InputError(f"{store.url}: has no release {name}. See `qtriton releases list {store.url}`.")
    if len(matches) > 1:
        names = ", ".join(each.id[: len(name) + 4] for each in matches)
        raise InputError(f"{store.url}: {name} is the beginning of {names}. Give more of it.")
    if not matches[0].whole:
        raise RepositoryError(
            f"{store.url}: release {matches[0].id[:SHOWN]} is not whole ({matches[0].problem}). Publish it again: "
            "what is missing is sent."
        )
    return matches[0]
