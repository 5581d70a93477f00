"""ONNX Runtime on a CPU: Triton's own onnxruntime backend in docker, ours in the embedded server."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy.typing as npt

from qtriton.target import Precision, Target

if TYPE_CHECKING:
    from qtriton.backends import Runner


@dataclass(frozen=True)
class OnnxRuntime:
    """FP32 is the model as it came; INT8 is the same graph with Q/DQ where ONNX Runtime fuses it."""

    precisions: frozenset[Precision] = frozenset({Precision.FP32, Precision.INT8})
    platform: str = "onnxruntime_onnx"
    artifact: str = "model.onnx"

    def emit(self, fp32: Path, scales: Path | None, target: Target, out: Path) -> None:
        """Write model.onnx."""
        if scales is None:
            shutil.copyfile(fp32, out)
            return
        from qtriton.compress.scales import Scales
        from qtriton.quantize.qdq import emit

        emit(fp32, Scales.load(scales), target, out)

    def runner(self, artifact: Path, threads: int) -> "Runner":
        """An onnxruntime session on the CPU provider."""
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        session = onnxruntime.InferenceSession(str(artifact), options, providers=["CPUExecutionProvider"])
        name = session.get_inputs()[0].name

        def run(batch: npt.NDArray[Any]) -> Sequence[npt.NDArray[Any]]:
            outputs: Sequence[npt.NDArray[Any]] = session.run(None, {name: batch})
            return outputs

        return run
