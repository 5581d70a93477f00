"""How long a pod takes to end, so that no client notices."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Times:
    """In seconds. gRPC lets a connection grow a tenth older than its age, by chance."""

    #: As the supervisor's job in docker/entrypoint.sh says: for clients, and for the server after that.
    drain_s: int = 3
    stop_s: int = 6
    #: The age of a gRPC connection. A new one takes a millisecond, so it may be short.
    age_s: int = 30

    @property
    def sleep_s(self) -> int:
        """Until every connection that was made before is closed, and a few seconds until Services route elsewhere."""
        return self.age_s + self.age_s // 10 + 7

    @property
    def grace_s(self) -> int:
        """What a pod is given to end, with some to spare, in whole tens."""
        return -(-(self.sleep_s + self.drain_s + self.stop_s) // 10) * 10 + 10


TIMES: Final = Times()
