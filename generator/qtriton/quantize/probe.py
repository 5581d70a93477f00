"""Runs a model in ONNX Runtime for the values inside it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto


def probe_session(model: ModelProto, more: Sequence[NodeProto], outputs: Sequence[str] = ()) -> Any:
    """A session on the model with more nodes behind it; it gives `outputs`, then what these nodes give."""
    import onnx
    import onnxruntime as ort

    probe = onnx.ModelProto()
    probe.CopyFrom(model)
    probe.graph.node.extend(more)
    del probe.graph.output[:]
    given = [*outputs, *(node.output[0] for node in more)]
    probe.graph.output.extend(onnx.helper.make_empty_tensor_value_info(name) for name in given)
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = len(os.sched_getaffinity(0))
    options.use_deterministic_compute = True
    return ort.InferenceSession(probe.SerializeToString(), options, providers=["CPUExecutionProvider"])
