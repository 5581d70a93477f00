"""Runs a typed ONNX in ONNX Runtime on the CPU, in TensorRT's place where there is no GPU.

The graph is the same, the kernels are others: it has FP16's weights and scales, but computes in FP32, so it does not
show what FP16 rounds between layers.
"""

from typing import Any

import numpy.typing as npt

from qtriton.backends.onnxruntime.engine import DATATYPES

Array = npt.NDArray[Any]
TensorInfo = tuple[str, str, list[int]]


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
        self._session = ort.InferenceSession(widened(path), options, providers=["CPUExecutionProvider"])
        self.inputs, self.outputs = (
            [(n.name, DATATYPES.get(n.type, n.type), [s if isinstance(s, int) else -1 for s in n.shape]) for n in side]
            for side in (self._session.get_inputs(), self._session.get_outputs())
        )
        self._names = [name for name, _, _ in self.outputs]

    def run(self, feed: dict[str, Array]) -> dict[str, Array]:
        """One batch."""
        return dict(zip(self._names, self._session.run(self._names, feed), strict=True))


def widened(path: str) -> bytes:
    """The model with FP16's quantizers in FP32 between casts, which changes no value that they are meant to give.

    ONNX Runtime 1.23, the last for Python 3.10, computes them wrong (MobileNetV1 keeps 55 of 76 points), 1.32 right.
    """
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    model = onnx.load(path)
    graph = model.graph
    halves = {each.name: each for each in graph.initializer if each.data_type == TensorProto.FLOAT16}
    nodes, wide = [], set()
    for node in graph.node:
        if node.op_type not in ("QuantizeLinear", "DequantizeLinear") or node.input[1] not in halves:
            nodes.append(node)
            continue
        wide.add(node.input[1])
        node.input[1] += "_fp32"
        if node.op_type == "QuantizeLinear":
            nodes += [helper.make_node("Cast", [node.input[0]], [f"{node.output[0]}_fp32"], to=TensorProto.FLOAT), node]
            node.input[0] = f"{node.output[0]}_fp32"
        else:
            name = node.output[0]
            node.output[0] = f"{name}_fp32"
            nodes += [node, helper.make_node("Cast", [node.output[0]], [name], to=TensorProto.FLOAT16)]
    scales = {name: numpy_helper.to_array(halves[name]).astype("float32") for name in sorted(wide)}
    graph.initializer.extend(numpy_helper.from_array(scale, f"{name}_fp32") for name, scale in scales.items())
    del graph.node[:]
    graph.node.extend(nodes)
    return bytes(model.SerializeToString())
