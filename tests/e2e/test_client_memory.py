"""The client keeps its memory: in processes of their own, as it is a setting of the whole process."""

import os
import subprocess
import sys

import pytest

SCRIPT = """
import ctypes
from pathlib import Path
from qtriton_client.memory import keep_memory

libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
libc.free.argtypes = [ctypes.c_void_p]

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

def given_back(size=40 * 2**20):  # larger than what glibc learns to keep by itself
    block = libc.malloc(size)
    ctypes.memset(block, 1, size)
    held = resident()
    libc.free(block)
    return held - resident() > size / 2

print(given_back(), keep_memory(), given_back())
"""


@pytest.mark.parametrize(
    ("users", "said"), [({}, "True True False"), ({"MALLOC_TOP_PAD_": "131072"}, "True False True")]
)
def test_a_freed_block_stays_unless_the_user_has_settings(users: dict[str, str], said: str) -> None:
    env = {key: value for key, value in os.environ.items() if not key.startswith("MALLOC_")}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, env={**env, **users}, check=True
    )
    assert done.stdout.strip() == said
