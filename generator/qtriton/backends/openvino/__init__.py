"""OpenVINO on a CPU: Triton's own openvino backend in docker, ours in the embedded server."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from qtriton.backends.base import ArtifactSources, Moves, Serving
from qtriton.compress.scales import Scales
from qtriton.quantize.batch import fix_batch
from qtriton.quantize.openvino import emit_openvino
from qtriton.quantize.slices import split_for_gathers
from qtriton.target import Precision, Target

ENGINE: Final = Path(__file__).with_name("engine.py")
_FILES: Final = ("model.onnx",)
#: As in ONNX Runtime.
MOVES: Final = Moves(least_saving=3 << 20, free_rows=True)


@dataclass(frozen=True)
class OpenVino:
    """FP32 is the original model; INT8 has Q/DQ before each layer and nothing behind it (quantize/openvino.py).

    The batch is 1: Triton's backend compiles for max_batch_size and refuses, or pads, what is smaller.
    """

    triton: str = "openvino"
    title: str = "OpenVINO"
    precisions: frozenset[Precision] = frozenset({Precision.FP32, Precision.INT8})
    packages: tuple[str, ...] = ("openvino",)
    engine: Path = ENGINE
    gpu: None = None
    moves: Moves = MOVES

    def files(self, target: Target) -> tuple[str, ...]:
        """One ONNX file."""
        del target
        return _FILES

    def serving(self, target: Target) -> Serving:
        """Triton's backend openvino, with the threads of one instance and 32-bit floats."""

        # By itself OpenVINO computes in bfloat16 where the CPU has it. Triton's own backend does not have the last
        # parameter (docker/README.md).
        parameters = {
            "INFERENCE_NUM_THREADS": str(target.threads),
            "NUM_STREAMS": "1",
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": "f32",
        }
        return Serving(backend="openvino", file=_FILES[0], parameters=tuple(parameters.items()))

    def emit(self, sources: ArtifactSources, target: Target, out: Path) -> Mapping[str, str]:
        """Write model.onnx with a batch of 1."""

        artifact = out / _FILES[0]
        if target.precision is Precision.FP32:
            _write(sources.export_onnx(), artifact)
            return {}
        scales = Scales.load(sources.learn_scales())
        report = emit_openvino(sources.export_onnx(), scales, target, artifact, sources.float_layers, sources.pixels())
        _write(artifact, artifact)
        return report.float_reasons


def _write(source: Path, out: Path) -> None:
    """Write an ONNX file with the first size of every input set to 1, where it was free, as OpenVINO reads it.

    The outputs stay as they are: the rows of a detector with NMS inside are no batch.
    """
    import onnx

    model = onnx.load(str(source))
    fix_batch(model)
    split_for_gathers(model)
    out.write_bytes(model.SerializeToString(deterministic=True))
