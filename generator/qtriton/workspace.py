"""The cache: what was downloaded and what a stage produced, by the hash of everything it was made from."""

import errno
import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Final

from qtriton.errors import SetupError
from qtriton.timings import Timings

#: The suffix of a folder that is being filled, or whose filling has failed.
PARTIAL: Final = ".partial"
#: The suffix of a file that is being downloaded, or whose download was cut.
PART: Final = ".part"
LOCK: Final = ".lock"


def sha256_file(path: Path) -> str:
    """The SHA-256 of a file, in hex."""
    with path.open("rb") as file:
        return sha256_stream(file)


def sha256_stream(stream: IO[bytes]) -> str:
    """The SHA-256 of what is left of a stream, in hex."""
    digest = hashlib.sha256()
    while block := stream.read(1 << 20):
        digest.update(block)
    return digest.hexdigest()


def sha256_json(value: object) -> str:
    """The SHA-256 of a value's canonical JSON, in hex."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()


@dataclass(frozen=True)
class Workspace:
    """A folder of our own in the user's cache."""

    root: Path
    #: The locks that say to others that what this workspace has given is in use.
    _uses: dict[Path, IO[str]] = field(default_factory=dict, repr=False, compare=False)
    #: What it waited for, since it exists.
    timings: Timings = field(default_factory=Timings, repr=False, compare=False)

    @classmethod
    def default(cls) -> "Workspace":
        """$QTRITON_CACHE, else qtriton in $XDG_CACHE_HOME, else ~/.cache/qtriton."""
        if folder := os.environ.get("QTRITON_CACHE"):
            return cls(Path(folder).absolute())
        try:
            shared = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        except RuntimeError as error:
            raise SetupError("There is no home folder for the cache. Set QTRITON_CACHE to a folder.") from error
        return cls(shared.absolute() / "qtriton")

    def stage(self, name: str, key: str, produce: Callable[[Path], None]) -> Path:
        """The folder of a stage's results, made by produce(folder) unless it is there already.

        The folder appears whole: it is filled as NAME-KEY.partial, which stays behind with its logs when
        produce fails. A second process that wants the same stage waits for the first. What was given is in use, and
        so never pruned, as long as this object exists.
        """
        final = self._stage_folder(name, key)
        with self.timings.part(name) as part:
            part.computed = False
            while not self._use_if_there(final):
                with locked(final, fcntl.LOCK_EX):
                    if not final.is_dir():
                        part.computed = True
                        partial = final.with_name(final.name + PARTIAL)
                        shutil.rmtree(partial, ignore_errors=True)
                        partial.mkdir()
                        with disk_full_told(partial):
                            produce(partial)
                        partial.rename(final)
        return final

    def holds(self, name: str, key: str) -> bool:
        """Whether a stage's results are there at this moment."""
        return self._stage_folder(name, key).is_dir()

    def _stage_folder(self, name: str, key: str) -> Path:
        return self.folder("stages") / f"{name}-{key[:24]}"

    def use(self, path: Path) -> Path:
        """Say that something in the cache, which is there, is in use from now on; gives it back.

        Raises:
            FileNotFoundError: it has just been pruned.
        """
        if not self._use_if_there(path):
            raise FileNotFoundError(path)
        return path

    @contextmanager
    def locked(self, path: Path) -> Iterator[None]:
        """Hold something in the cache for a block that makes it; whoever wants the same waits."""
        self.folder(path.parent.name)
        self._let_go(path)
        with locked(path, fcntl.LOCK_EX):
            yield

    def remove(self, path: Path) -> bool:
        """Remove something from the cache, whether it is there or not; False where another is using it."""
        self._let_go(path)
        if not path.exists() and not lock_of(path).exists():
            return True
        try:
            with locked(path, fcntl.LOCK_EX | fcntl.LOCK_NB):
                if path.is_dir():
                    shutil.rmtree(path)
                else:
                    path.unlink(missing_ok=True)
                lock_of(path).unlink(missing_ok=True)  # while it is held: see acquire()
        except BlockingIOError:
            return False
        return True

    def _use_if_there(self, path: Path) -> bool:
        self._let_go(path)  # two locks of one process would wait for each other
        lock = acquire(path, fcntl.LOCK_SH)
        if not path.exists():
            lock.close()
            return False
        self._uses[path] = lock
        os.utime(path)  # when it was last used
        return True

    def _let_go(self, path: Path) -> None:
        if (lock := self._uses.pop(path, None)) is not None:
            lock.close()

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
        with (parent / LOCK).open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            for old in parent.glob("*[0-9]"):
                if not Path(f"/proc/{old.name}").exists():
                    shutil.rmtree(old, ignore_errors=True)
        folder = parent / str(os.getpid())
        folder.mkdir(exist_ok=True)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def lock_of(path: Path) -> Path:
    """The file whose lock says that something in the cache is being made (exclusive) or in use (shared)."""
    return path.with_name(path.name + LOCK)


def acquire(path: Path, mode: int) -> IO[str]:
    """The lock of something in the cache, held until it is closed.

    Raises:
        BlockingIOError: it is held by another, and the mode has LOCK_NB.
    """
    while True:
        lock = lock_of(path).open("a")
        try:
            fcntl.flock(lock, mode)
            if os.path.samestat(os.fstat(lock.fileno()), lock_of(path).stat()):
                return lock
        except FileNotFoundError:
            pass  # it was pruned meanwhile, and its lock with it
        except BaseException:
            lock.close()
            raise
        lock.close()


@contextmanager
def locked(path: Path, mode: int) -> Iterator[None]:
    """Hold the lock of something in the cache for a block."""
    with acquire(path, mode):
        yield


@contextmanager
def disk_full_told(place: Path) -> Iterator[None]:
    """A write that finds the disk full does not say where, and not what to do.

    Raises:
        SetupError: the disk is full.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise SetupError(
            f"{error.filename or place}: {error.strerror}. Free some space (`qtriton cache prune`), or set "
            "QTRITON_CACHE to a folder with more; what is done is kept."
        ) from error
