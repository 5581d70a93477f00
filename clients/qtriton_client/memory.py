"""Keeps the memory of one request for the next: glibc returns it, and the kernel clears it again each time."""

import ctypes
import os
from typing import Final

#: Of malloc.h: how much may be free at the top, how much more than needed is allocated, from which size it is mapped.
_TRIM_THRESHOLD: Final = (-1, 2**31 - 1)
_TOP_PAD: Final = (-2, 2**26)
_MMAP_THRESHOLD: Final = (-3, 2**30)


def keep_memory() -> bool:
    """Set it for the whole process, from now on; returns whether that worked.

    A request of 0.6 MB costs the client 2.4 ms of CPU without, and 0.8 ms with it. A MALLOC_* variable of the user's
    takes precedence; other C libraries have no such setting.
    """
    if any(name.startswith("MALLOC_") for name in os.environ):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):
        return False
    return all(mallopt(*setting) == 1 for setting in (_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD))
