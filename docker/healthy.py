"""Ends well when the server and all of its models are ready; the image may have no curl.

Triton says that it is ready while the process of a python step is dead, and fails every request of it from then on
(measured with 2.51). So a server with such a process is told to end, and the restart policy brings it back.
"""

import os
import signal
import sys
from pathlib import Path
from urllib.request import urlopen


def dead_steps() -> list[str]:
    """The ended processes of python steps, which process 1 does not start again."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            number, _, rest = path.read_text(errors="replace").partition(" (")
        except OSError:
            continue  # it has ended meanwhile
        name, _, fields = rest.rpartition(") ")
        # A name has 15 letters at most: triton_python_backend_stub.
        if name == "triton_python_b" and fields.split()[:2] == ["Z", "1"]:
            found.append(number)
    return found


if dead := dead_steps():
    message = (
        f"error: the process of a python step has died ({', '.join(dead)}); the server ends, to be started again\n"
    )
    Path("/proc/1/fd/2").write_text(message)
    os.kill(1, signal.SIGTERM)
    sys.exit(message)
urlopen("http://127.0.0.1:8000/v2/health/ready", timeout=3).close()
