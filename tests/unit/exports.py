"""ONNX files with the metadata and the shapes of today's exports, and no network that anybody could run."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from onnx import NodeProto, TensorProto, helper, load, numpy_helper, save

#: The shape of a tensor; a text is a size that is free.
Shape = Sequence[int | str]
ULTRALYTICS = {
    "author": "Ultralytics",
    "description": "Ultralytics YOLO11n model",
    "version": "8.4.1",
    "license": "AGPL-3.0 License (https://ultralytics.com/license)",
    "task": "detect",
    "stride": "32",
    "batch": "1",
    "imgsz": "[64, 64]",
    "names": "{0: 'cat', 1: 'dog', 2: 'no'}",
    "head": "Detect",
    "channels": "3",
    "end2end": "False",
}


def export(
    path: Path,
    outputs: Mapping[str, Shape],
    image: Shape = (1, 3, 64, 64),
    metadata: Mapping[str, str] | None = None,
    *,
    begin: Sequence[NodeProto] = (),
    end: str = "Concat",
    constants: Mapping[str, Sequence[float]] | None = None,
    integers: Sequence[str] = (),
) -> Path:
    """Write a graph: the input `images`, then `begin`, a Conv, and for each output an operation `end`."""
    last = begin[-1].output[0] if begin else "images"
    nodes = [*begin, helper.make_node("Conv", [last, "weight"], ["features"])]
    nodes += [helper.make_node(end, ["features"], [name]) for name in outputs]
    weights = {"weight": np.zeros((1, 3, 1, 1), np.float32)}
    weights |= {name: np.asarray(values, np.float32).reshape(1, -1, 1, 1) for name, values in (constants or {}).items()}
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, list(image))],
        [
            helper.make_tensor_value_info(
                name, TensorProto.INT64 if name in integers else TensorProto.FLOAT, list(shape)
            )
            for name, shape in outputs.items()
        ],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    helper.set_model_props(model, dict(metadata or {}))
    path.parent.mkdir(parents=True, exist_ok=True)
    save(model, str(path))
    return path


def node(op: str, *names: str) -> NodeProto:
    """An operation: its inputs, then its output."""
    return helper.make_node(op, list(names[:-1]), [names[-1]])


def with_input(path: Path, name: str, kind: int) -> Path:
    """The same file with a further input [1, 2]."""
    model = load(str(path))
    model.graph.input.append(helper.make_tensor_value_info(name, kind, [1, 2]))
    save(model, str(path))
    return path
