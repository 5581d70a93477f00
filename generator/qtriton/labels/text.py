"""Text files of labels, as editors and spreadsheets save them."""

from pathlib import Path

from qtriton.errors import InputError


def read_text(path: Path, what: str) -> str:
    """The text of a file of labels in UTF-8, with or without a byte order mark.

    Args:
        path: the file.
        what: what it should be, for errors.

    Raises:
        InputError: it cannot be read, or is in another encoding.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"--labels {path}: cannot be read ({error.strerror}). Give {what}.") from error
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        kind = "UTF-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "something else"
        raise InputError(f"--labels {path}: not text in UTF-8 but in {kind}. Save it as UTF-8.") from error
