"""Runs a typed ONNX in ONNX Runtime on the CPU, in TensorRT's place where there is no GPU.

The graph is the same, the kernels are others: it has FP16's weights and scales, but computes in FP32, so it does not
show what FP16 rounds between layers.
"""

from typing import Any

import numpy.typing as npt

Array = npt.NDArray[Any]
Port = tuple[str, str, list[int]]

_TYPES = {"tensor(float)": "FP32", "tensor(float16)": "FP16", "tensor(int32)": "INT32", "tensor(int64)": "INT64"}


class Engine:
    """A session that computes what the graph says, without integer kernels."""

    def __init__(self, path: str, config: dict[str, Any]) -> None:
        """Load it; what TensorRT is told does not concern it."""
        del config
        import onnxruntime as ort

        options = ort.SessionOptions()
        options.log_severity_level = 3
        # Its integer kernels want u8 and refuse FP16 scales; as it stands, the graph says what TensorRT computes.
        options.add_session_config_entry("session.disable_quant_qdq", "1")
        self._session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        self.inputs, self.outputs = (
            [(n.name, _TYPES.get(n.type, n.type), [s if isinstance(s, int) else -1 for s in n.shape]) for n in side]
            for side in (self._session.get_inputs(), self._session.get_outputs())
        )
        self._names = [name for name, _, _ in self.outputs]

    def run(self, feed: dict[str, Array]) -> dict[str, Array]:
        """One batch."""
        return dict(zip(self._names, self._session.run(self._names, feed), strict=True))
