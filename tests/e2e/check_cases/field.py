"""What reading the server's sources, and configs of others, has shown beside the other lists."""

from dataclasses import replace
from typing import Final

from e2e.check_cases.case import PYTHON, Case, config
from e2e.check_cases.ensembles import ensemble


def _named(name: str, backend: str, refused: str = "", file: str = "model.py") -> Case:
    """A model by what its config says of platform, backend and file."""
    return Case(name, {"@/config.pbtxt": config(backend=backend), f"@/1/{file}": PYTHON}, refused)


#: What the server fills in by default_model_filename, and what it then finds.
_FILLED: Final = (
    _named("file-beside-a-stranger-platform", 'platform: "own" default_model_filename: "model.py"'),
    _named("stranger-platform", 'platform: "own"', "backend-unknown"),
    _named(
        "file-of-another-platform",
        'platform: "onnxruntime_onnx" default_model_filename: "model.plan"',
        "platform-differs",
        "model.plan",
    ),
    _named("tensorflow-without-platform", 'backend: "tensorflow"', "platform-missing", "saved_model.pb"),
    replace(
        _named("tensorflow-by-its-file", 'backend: "tensorflow"', file="model.graphdef"),
        also=("backend-not-here",),
        judge="read",
    ),
    ensemble("ensemble-file-of-no-backend", extra='default_model_filename: "steps.txt"'),
    ensemble("ensemble-file-of-a-backend", "ensemble-backend", extra='default_model_filename: "model.onnx"'),
)

FIELD: Final = (*_FILLED,)
