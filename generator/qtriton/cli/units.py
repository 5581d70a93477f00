"""Ages and sizes as a user writes and reads them."""

import re
from typing import Final

from qtriton.errors import InputError

_SECONDS: Final = {"m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
_BYTES: Final = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}


def parse_age(text: str, option: str) -> float:
    """Seconds, from 12h, 30d or 8w.

    Raises:
        InputError: it is none.
    """
    return _parse(text, _SECONDS, option, "12h, 30d or 8w")


def parse_size(text: str, option: str) -> int:
    """Bytes, from 500M or 5G, with or without a B.

    Raises:
        InputError: it is none.
    """
    return int(_parse(text.upper().removesuffix("B"), _BYTES, option, "500M or 5G"))


def _parse(text: str, units: dict[str, int], option: str, example: str) -> float:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([A-Za-z]?)", text.strip())
    if match is None or match[2] not in units:
        raise InputError(f"{option} {text}: not understood. Write {example}.")
    return float(match[1]) * units[match[2]]


def size_in_words(count: int) -> str:
    """Bytes, kilobytes and so on."""
    size = float(count)
    for unit in ("B", "kB", "MB"):
        if size < 1000:
            return f"{size:.0f} {unit}"
        size /= 1000
    return f"{size:.1f} GB"
