"""The cache: what was downloaded and what a stage produced, by the hash of everything it was made from."""

import errno
import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from qtriton.errors import SetupError


def sha256_file(path: Path) -> str:
    """The SHA-256 of a file, in hex."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def sha256_json(value: object) -> str:
    """The SHA-256 of a value's canonical JSON, in hex."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()


@dataclass(frozen=True)
class Workspace:
    """A folder of our own in the user's cache."""

    root: Path

    @classmethod
    def default(cls) -> "Workspace":
        """$QTRITON_CACHE, else qtriton in $XDG_CACHE_HOME, else ~/.cache/qtriton."""
        if own := os.environ.get("QTRITON_CACHE"):
            return cls(Path(own).absolute())
        try:
            shared = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        except RuntimeError as error:
            raise SetupError("There is no home folder for the cache. Set QTRITON_CACHE to a folder.") from error
        return cls(shared.absolute() / "qtriton")

    def stage(self, name: str, key: str, produce: Callable[[Path], None]) -> Path:
        """The folder of a stage's results, made by produce(folder) unless it is there already.

        The folder appears whole: it is filled as NAME-KEY.partial, which stays behind with its logs when
        produce fails. A second process that wants the same stage waits for the first.
        """
        final = self.root / "stages" / f"{name}-{key[:24]}"
        if final.is_dir():
            return final
        with self._locked(final):
            if not final.is_dir():
                partial = final.with_name(final.name + ".partial")
                shutil.rmtree(partial, ignore_errors=True)
                partial.mkdir()
                _produced(produce, partial)
                partial.rename(final)
        return final

    def folder(self, name: str) -> Path:
        """A folder below the root, made when it is missing."""
        folder = self.root / name
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise SetupError(
                f"{folder}: cannot be made ({error.strerror}). Set QTRITON_CACHE to a folder you may write."
            ) from error
        return folder

    @contextmanager
    def scratch(self) -> Iterator[Path]:
        """A folder that is gone after the block; what a killed process left of its own goes too."""
        parent = self.folder("scratch")
        with (parent / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            for old in parent.glob("*[0-9]"):
                if not Path(f"/proc/{old.name}").exists():
                    shutil.rmtree(old, ignore_errors=True)
        own = parent / str(os.getpid())
        own.mkdir(exist_ok=True)
        try:
            yield own
        finally:
            shutil.rmtree(own, ignore_errors=True)

    @contextmanager
    def _locked(self, final: Path) -> Iterator[None]:
        self.folder("stages")
        with final.with_name(final.name + ".lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


def _produced(produce: Callable[[Path], None], folder: Path) -> None:
    """A write that finds the disk full does not say where."""
    try:
        produce(folder)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise SetupError(
            f"{error.filename or folder}: {error.strerror}. Free some space, or set QTRITON_CACHE to a folder "
            "with more; what is done is kept."
        ) from error
