"""Classification accuracy: the share of images whose best class is the true one."""

from collections.abc import Sequence

import numpy as np

from qtriton.metrics.outcomes import Hits
from qtriton.runtime.values import Results


def top1(classes: Sequence[int], results: Sequence[Results]) -> Hits:
    """Top-1 accuracy; results in the order of the true classes."""
    hits = [int(result["classes"][0]) == true for true, result in zip(classes, results, strict=True)]
    return Hits(len(hits), np.array(hits, bool))
