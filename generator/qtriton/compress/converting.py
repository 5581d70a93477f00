"""Runs x2paddle, and says at which node it gives up (in the worker)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from qtriton.errors import CompressionError


def convert(source: Path, folder: Path) -> None:
    """Write an ONNX file as x2paddle's folder.

    Raises:
        CompressionError: x2paddle does not take an operation; it is named.
    """
    import onnx
    from x2paddle.convert import onnx2paddle
    from x2paddle.decoder import onnx_decoder
    from x2paddle.op_mapper.onnx2paddle.onnx_op_mapper import ONNXOpMapper

    def refuse(*_: Any, **__: Any) -> None:
        raise NotImplementedError("x2paddle falls back to ONNX's own shape inference")

    # x2paddle's symbolic shape inference gives wrong shapes for YOLO heads; where it raises, x2paddle falls
    # back to ONNX's, which is right at a fixed input shape.
    onnx_decoder.SymbolicShapeInference.infer_shapes = refuse
    nodes = onnx.load(str(source)).graph.node
    ONNXOpMapper.op_checker = checker({name: node.name for node in nodes for name in node.output if node.name})
    onnx2paddle(str(source), str(folder), disable_feedback=True)


def checker(names: Mapping[str, str]) -> Callable[[Any], bool]:
    """In place of x2paddle's own check, which prints operations and does not say where they are.

    `names` are those of the nodes by their outputs: x2paddle calls a node `x2paddle_OUTPUT`.
    """

    def title(node: Any) -> str:
        output = str(node.layer_name).removeprefix("x2paddle_")
        return f"{node.layer_type} (node {names.get(output, output)})"

    def check(mapper: Any) -> bool:
        ops = mapper.opset
        for name in mapper.graph.topo_sort:
            node = mapper.graph.get_node(name)
            op = node.layer_type
            if not hasattr(ops, op) and op not in ops.directly_map_ops and op not in ops.elementwise_ops:
                raise CompressionError(f"x2paddle has no {title(node)}.")
        mapper.opset = _NamedOps(ops, title)
        return True

    return check


class _NamedOps:
    """x2paddle's table of operations, whose failures say at which node they happened."""

    def __init__(self, ops: Any, title: Callable[[Any], str]) -> None:
        self._ops, self._title = ops, title

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._ops, name)
        return self._named(value) if callable(value) else value

    def _named(self, convert_node: Callable[[Any], Any]) -> Callable[[Any], Any]:
        def convert_named(node: Any) -> Any:
            try:
                return convert_node(node)
            except (Exception, SystemExit) as error:  # x2paddle ends the process where it knows no better
                text = f": {error}".splitlines()[0].rstrip(".") * (not isinstance(error, SystemExit))
                kind = f" ({type(error).__name__}{text})"
                raise CompressionError(f"x2paddle cannot take this {self._title(node)}{kind}.") from error

        return convert_named
