"""qtriton: from an FP32 vision model to a measured INT8 deployment on Triton Inference Server.

The public API: `from qtriton import build, check, serve, bench, publish` and so on, and what their arguments are made
of. Each name is loaded when it is first used, so that `import qtriton` stays quick.
"""

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

# As in backends/onnxruntime/engine.py, which runs without us, for all else here that loads ONNX Runtime; the processes
# that we start inherit it. Whoever wants it sets the variable to 0.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

if TYPE_CHECKING:
    from qtriton.api import bench, build, check, plan_build, predict, serve, tune
    from qtriton.errors import QtritonError
    from qtriton.options import BuildOptions
    from qtriton.progress import Reporter
    from qtriton.releases.api import fetch_release, list_releases, prune_releases, publish, rollback_release
    from qtriton.server.options import ServerOptions
    from qtriton.target import Method, Precision
    from qtriton.tuning.options import TuneOptions
    from qtriton_client.results import LoadOptions

#: Where each public name lives.
_HOMES: Final[dict[str, str]] = {
    "bench": "qtriton.api",
    "build": "qtriton.api",
    "check": "qtriton.api",
    "fetch_release": "qtriton.releases.api",
    "list_releases": "qtriton.releases.api",
    "plan_build": "qtriton.api",
    "predict": "qtriton.api",
    "prune_releases": "qtriton.releases.api",
    "publish": "qtriton.releases.api",
    "rollback_release": "qtriton.releases.api",
    "serve": "qtriton.api",
    "tune": "qtriton.api",
    "BuildOptions": "qtriton.options",
    "LoadOptions": "qtriton_client.results",
    "Method": "qtriton.target",
    "Precision": "qtriton.target",
    "QtritonError": "qtriton.errors",
    "Reporter": "qtriton.progress",
    "ServerOptions": "qtriton.server.options",
    "TuneOptions": "qtriton.tuning.options",
}

__all__ = [
    "BuildOptions",
    "LoadOptions",
    "Method",
    "Precision",
    "QtritonError",
    "Reporter",
    "ServerOptions",
    "TuneOptions",
    "bench",
    "build",
    "check",
    "fetch_release",
    "list_releases",
    "plan_build",
    "predict",
    "prune_releases",
    "publish",
    "rollback_release",
    "serve",
    "tune",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'qtriton' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
