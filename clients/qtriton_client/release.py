"""Which release answered: its ensembles are served under a version that is made of the name of the release."""

from typing import Final

#: So many hexadecimal digits of a release's name go into a version, which is an int64.
DIGITS: Final = 15
#: The versions of releases begin here, so that none is the 1 of what is no release.
_FIRST: Final = 1 << 4 * DIGITS


def version_of(release: str) -> str:
    """Triton's version of the ensembles of a release, whose name is a SHA-256 in hexadecimal digits."""
    return str(_FIRST + int(release[:DIGITS], 16))


def release_of(version: str) -> str | None:
    """The first digits of the name of the release that an ensemble's version is of; None where it is of none."""
    number = int(version) if version.isdecimal() else 0
    return f"{number - _FIRST:0{DIGITS}x}" if _FIRST <= number < 2 * _FIRST else None
