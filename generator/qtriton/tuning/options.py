"""What tune can be asked for: each option once, with its type, its default and its help."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final

import typer

from qtriton.errors import InputError

#: Of more clients, threads of one Python process would measure themselves.
MOST_CLIENTS: Final = 256
#: Below, windows are so short that a p99 says nothing.
FEWEST_MINUTES: Final = 0.5
#: Below, no window of a rate has a p99.
FEWEST_REQUESTS: Final = 200


@dataclass(frozen=True)
class TuneOptions:
    """The options of `qtriton tune`, and of the Python call `qtriton.tune`.

    Raises:
        InputError: one cannot be met, or both loads are named.
    """

    p99: Annotated[
        float, typer.Option(help="The budget: what 99 of 100 requests may wait, in milliseconds.", metavar="MS")
    ]
    clients: Annotated[
        int | None,
        typer.Option(
            help="The load: so many clients, one request each at a time; their throughput is made as high as can be. "
            "Default: two for each core.",
            metavar="N",
        ),
    ] = None
    rate: Annotated[
        float | None,
        typer.Option(
            help="The load: so many requests a second, at random moments; their p99 is made as low as can be.",
            metavar="R",
        ),
    ] = None
    minutes: Annotated[float, typer.Option(help="How long it may measure.", metavar="MINUTES")] = 5.0
    images: Annotated[
        Path | None, typer.Option(help="Folder of images. Default: those of the build.", metavar="DIR")
    ] = None
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Measure, print what would be written, and change nothing.")
    ] = False

    def __post_init__(self) -> None:
        if self.clients is not None and self.rate is not None:
            raise InputError("--clients and --rate are two ways to say the load. Pass one of them.")
        if not 0 < self.p99 < math.inf:
            raise InputError(f"--p99 {self.p99:g}: milliseconds above 0.")
        if self.clients is not None and not 1 <= self.clients <= MOST_CLIENTS:
            raise InputError(f"--clients {self.clients}: 1 to {MOST_CLIENTS}.")
        if not FEWEST_MINUTES <= self.minutes < math.inf:
            raise InputError(f"--minutes {self.minutes:g}: at least {FEWEST_MINUTES:g}.")
        if self.rate is not None:
            self._require_requests(self.rate)

    def _require_requests(self, rate: float) -> None:
        if not 0 < rate < math.inf:
            raise InputError(f"--rate {rate:g}: requests a second, above 0.")
        if (requests := rate * 60 * self.minutes) < FEWEST_REQUESTS:
            raise InputError(
                f"--rate {rate:g}: {requests:.0f} requests in {self.minutes:g} minutes tell no p99. Allow "
                f"{math.ceil(FEWEST_REQUESTS / 60 / rate)} --minutes."
            )
