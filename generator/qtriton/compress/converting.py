"""Runs x2paddle, and says which operation it refuses (in the worker)."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def convert(source: Path, folder: Path) -> None:
    """Write an ONNX file as x2paddle's folder.

    Raises:
        RuntimeError: x2paddle does not take an operation; it is named.
    """
    from x2paddle.convert import onnx2paddle
    from x2paddle.decoder import onnx_decoder
    from x2paddle.op_mapper.onnx2paddle.onnx_op_mapper import ONNXOpMapper

    def refuse(*_: Any, **__: Any) -> None:
        raise NotImplementedError("x2paddle falls back to ONNX's own shape inference")

    # x2paddle's symbolic shape inference gives wrong shapes for YOLO heads; where it raises, x2paddle falls
    # back to ONNX's, which is right at a fixed input shape.
    onnx_decoder.SymbolicShapeInference.infer_shapes = refuse
    ONNXOpMapper.op_checker = _check_ops
    onnx2paddle(str(source), str(folder), disable_feedback=True)


class _NamedOps:
    """x2paddle's table of operations, whose failures say at which node they happened."""

    def __init__(self, ops: Any) -> None:
        self._ops = ops

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._ops, name)
        return _named(value) if callable(value) else value


def _named(convert_node: Any) -> Any:
    def convert(node: Any) -> Any:
        try:
            return convert_node(node)
        except (Exception, SystemExit) as error:  # it ends the process where it knows no better
            detail = "" if isinstance(error, SystemExit) else f" ({type(error).__name__}: {error})"
            raise RuntimeError(f"x2paddle cannot take this {_title(node)}{detail}") from error

    return convert


def _check_ops(mapper: Any) -> bool:
    """In place of x2paddle's own check, which prints the operations and does not say where they are."""
    ops = mapper.opset
    for name in mapper.graph.topo_sort:
        node = mapper.graph.get_node(name)
        op = node.layer_type
        if not hasattr(ops, op) and op not in ops.directly_map_ops and op not in ops.elementwise_ops:
            raise RuntimeError(f"x2paddle has no {_title(node)}")
    mapper.opset = _NamedOps(ops)
    return True


def _title(node: Any) -> str:
    """The operation, and its node's name or else its output."""
    layer = getattr(node, "layer", None)
    name = getattr(layer, "name", "") or node.layer_name
    return f"{node.layer_type} (node {name})"
