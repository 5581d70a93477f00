"""A file appears whole or not at all."""

import os
import secrets
from pathlib import Path


def write_atomically(path: Path, data: bytes) -> None:
    """Write a sibling and rename it over the file, which keeps its mode; a symlink keeps pointing to its file.

    What is there and is no file (/dev/stdout, a pipe) is written to as it is.

    Raises:
        OSError: it cannot be written; what was there before is as it was.
    """
    if path.exists() and not path.is_file():
        path.write_bytes(data)
        return
    path = Path(os.path.realpath(path))
    beside = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}")
    # Not tempfile: its files are for the owner alone, and others may have to read what is published.
    handle = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    try:
        with os.fdopen(handle, "wb") as file:
            if path.exists():
                os.fchmod(handle, path.stat().st_mode & 0o7777)
            file.write(data)
            file.flush()
            os.fsync(handle)
        os.replace(beside, path)  # noqa: PTH105  (the tests let it fail)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
