"""Which variant of a model to serve: the fastest, INT8 only where it is worth its drop."""

from collections.abc import Sequence
from typing import Final

from qtriton.repository.manifest import Manifest

#: INT8 that is not at least so many times faster than the fastest FP32 is not worth its accuracy drop.
MIN_SPEEDUP: Final = 1.05


def fastest(manifests: Sequence[Manifest]) -> Manifest:
    """The variant to serve of those of one model, at least one.

    FP32 and INT8 of a backend were timed side by side; where nothing was timed, the first that was compressed is
    taken, else the first.
    """
    timed = [each for each in manifests if each.speed is not None]
    if not timed:
        # What is not timed here was compressed to be faster elsewhere.
        return next((each for each in manifests if each.gate is not None), manifests[0])
    compressed = min(timed, key=lambda each: each.speed.compressed_ms if each.speed else 0)
    base = min(timed, key=lambda each: each.speed.fp32_ms if each.speed else 0)
    plain = next((each for each in manifests if each.speed is None and each.backend == base.backend), compressed)
    return compressed if gain(manifests) >= MIN_SPEEDUP else plain


def gain(manifests: Sequence[Manifest]) -> float:
    """The fastest FP32's time over the fastest INT8's, of those that were timed, at least one."""
    speeds = [each.speed for each in manifests if each.speed is not None]
    return min(each.fp32_ms for each in speeds) / min(each.compressed_ms for each in speeds)
