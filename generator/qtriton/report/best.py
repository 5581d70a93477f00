"""Which variant of a model to serve: the fastest, INT8 only where it is worth its loss."""

from collections.abc import Sequence
from typing import Final

from qtriton.manifest import Manifest

#: INT8 that is not at least so many times faster than the fastest FP32 is not worth its loss.
WORTH: Final = 1.05


def fastest(manifests: Sequence[Manifest]) -> Manifest:
    """The variant to serve of those of one model, at least one.

    FP32 and INT8 of a backend were timed side by side; without any INT8 there is no time, and the first is taken.
    """
    timed = [each for each in manifests if each.speed is not None]
    plain = {each.backend: each for each in manifests if each.speed is None}
    if not timed:
        return manifests[0]
    int8 = min(timed, key=lambda each: each.speed.int8_ms if each.speed else 0)
    base = min(timed, key=lambda each: each.speed.fp32_ms if each.speed else 0)
    assert int8.speed is not None and base.speed is not None
    return (
        int8 if base.speed.fp32_ms / int8.speed.int8_ms >= WORTH or base.backend not in plain else plain[base.backend]
    )
