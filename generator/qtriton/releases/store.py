"""What a store of releases can do; a folder is one, and what speaks S3 is."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol, TypeAlias

from qtriton.releases.content import LocalFile

#: Called with the bytes that were transferred since the last call, from any thread.
Transferred: TypeAlias = Callable[[int], None]


@dataclass(frozen=True)
class Stored:
    """An object as the store lists it."""

    #: Its path below the destination.
    key: str
    #: In bytes.
    size: int
    #: What the store says of its content; "" where it says nothing.
    tag: str
    #: With a time zone.
    modified: datetime


@dataclass(frozen=True)
class Content:
    """A small object that was read."""

    data: bytes
    #: What `put` compares.
    tag: str


class Store(Protocol):
    """Objects by key; a key is a path below the destination, an object appears whole or not at all.

    Every method raises SetupError for wrong credentials, InputError for a place that does not exist, StoreError where
    the store fails, and RepositoryError where it cannot be written.
    """

    @property
    def url(self) -> str:
        """The destination as the user names it."""
        ...

    def server_url(self, folder: str) -> str:
        """What tritonserver takes as its --model-repository."""
        ...

    def listing(self, folder: str) -> Iterator[Stored]:
        """Every object below a folder, by key."""
        ...

    def get(self, key: str) -> Content | None:
        """A small object; none where there is none."""
        ...

    def put(self, key: str, data: bytes, expected: str | None) -> bool:
        """Write a small object if the one that is there has the tag `expected`, or, if None, if there is none.

        Returns:
            whether it was written.
        """
        ...

    def delete(self, keys: Iterable[str]) -> None:
        """Remove objects, whether they are there or not."""
        ...

    def sweep(self, folder: str, before: datetime) -> None:
        """Remove what transfers into a folder that began before that time have left, which no listing shows."""
        ...

    def send(self, files: Mapping[str, LocalFile], transferred: Transferred) -> None:
        """Write files, several at a time, over what is there."""
        ...

    def receive(self, files: Mapping[str, Path], transferred: Transferred) -> None:
        """Read objects into files, several at a time; the folders are made.

        Raises:
            RepositoryError: an object is gone.
        """
        ...

    def holds(self, stored: Stored, file: LocalFile) -> bool:
        """Whether an object has the content of a file: by what the store computed of it, or by reading it."""
        ...
