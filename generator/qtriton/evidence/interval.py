"""Two one-sided bounds of a figure."""

from dataclasses import dataclass
from typing import Final, TypeAlias

#: How sure each bound is, unless something else is asked for.
LEVEL: Final = 0.95

#: Lower and upper.
Bounds: TypeAlias = tuple[float, float]


@dataclass(frozen=True)
class Interval:
    """The truth is below `upper` at `level`, and above `lower` at `level`: each alone, not both at once."""

    lower: float
    upper: float
    level: float
    #: How it was computed, in words for people.
    method: str
