"""Classification accuracy: the share of images whose best class is the true one."""

from collections.abc import Sequence

from qtriton.runtime.values import Results


def top1(classes: Sequence[int], results: Sequence[Results]) -> float:
    """Top-1 accuracy in points of 100; results in the order of the true classes."""
    hits = sum(int(result["classes"][0]) == true for true, result in zip(classes, results, strict=True))
    return 100.0 * hits / len(classes)
