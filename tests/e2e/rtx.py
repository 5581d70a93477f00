"""TensorRT-RTX as the tests of several files use it: where it is installed, and what it must say of our typed ONNX."""

import importlib.util
import json
from pathlib import Path
from typing import Any, Final

from .conftest import qtriton

INSTALLED: Final = all(importlib.util.find_spec(f"tensorrt_rtx_{part}") for part in ("bindings", "libs"))


def assert_builds(repository: Path, models: int) -> dict[str, dict[str, Any]]:
    """Each typed ONNX is parsed and built, and every layer that we quantize is computed in integers; what it tells."""
    done = qtriton("check", repository, "--tensorrt-rtx", "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    told = json.loads(done.stdout)["tensorrt_rtx"]
    assert len(told) == models
    for each in told:
        assert each["built"] and each["unfused"] == [], each
        assert sum(each["multiplications"].values()) > 0, each
        assert ("INT8" in each["multiplications"]) == ("int8" in each["model"]), each
        # FP16 is FP16 throughout: what multiplies in FP32 would stand between casts.
        assert not ("fp16" in each["model"] and "FP32" in each["multiplications"]), each
    return {each["model"]: each for each in told}
