"""Converts an FP32 ONNX file to a Paddle inference model (runs in the compression worker)."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from qtriton.compress.normalize import normalize, prepare
from qtriton.compress.simplify import simplify
from qtriton.errors import ConversionError
from qtriton.isolated import headline

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from onnx import ModelProto

MODEL_FILE: Final = "inference.pdmodel"
PARAMS_FILE: Final = "inference.pdiparams"


def random_image(shape: tuple[int, ...]) -> NDArray[np.float32]:
    """A batch of noise in [0, 1), always the same."""
    import numpy as np

    return np.random.default_rng(0).random(shape, np.float32)


def import_onnx(source: Path, shape: tuple[int, ...], folder: Path) -> Path:
    """Write `source`, with its one input fixed to `shape`, as a Paddle inference model; return its folder.

    Raises:
        ConversionError: x2paddle cannot convert the model; says why.
    """
    import onnx

    fixed_shape_file = folder / "fixed.onnx"
    folder.mkdir(parents=True, exist_ok=True)
    onnx.save(fix_shape(onnx.load(str(source)), shape), str(fixed_shape_file))
    _convert(fixed_shape_file, folder / "x2paddle")
    model = folder / "x2paddle" / "inference_model"
    if not (model / "model.pdmodel").is_file():
        # x2paddle reports many failures on stdout only and returns as if all were well.
        raise ConversionError("it: it wrote no Paddle model and did not say why")
    paddle_folder = folder / "paddle"
    paddle_folder.mkdir(exist_ok=True)
    (model / "model.pdmodel").replace(paddle_folder / MODEL_FILE)
    (model / "model.pdiparams").replace(paddle_folder / PARAMS_FILE)
    return paddle_folder


def fix_shape(model: ModelProto, shape: tuple[int, ...]) -> ModelProto:
    """The model that x2paddle is given: the same network on one input of `shape`, in forms that it converts."""
    constants = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in constants]
    if len(inputs) != 1:
        raise ConversionError(f"it: the model has {len(inputs)} inputs, compression needs exactly one")
    copy = type(model)()  # onnxsim before 0.8 changes what it is given
    copy.CopyFrom(model)
    model = normalize(simplify(prepare(copy), {inputs[0].name: list(shape)}), simplify)
    _rename_tensors(model)
    return model


def _rename_tensors(model: ModelProto) -> None:
    """Give every tensor a name of its own for x2paddle, to which a.0 and a_0 are the same."""
    graph = model.graph
    del graph.value_info[:]  # x2paddle infers the shapes itself
    names = {"": ""}
    for name in dict.fromkeys(
        [*(value.name for value in graph.input), *(name for node in graph.node for name in (*node.input, *node.output))]
    ):
        plain = re.sub(r"\W", "_", name)
        names.setdefault(name, plain if plain not in names.values() else f"{plain}_{len(names)}_")
    for value in (*graph.input, *graph.output, *graph.initializer):
        value.name = names.get(value.name, value.name)
    for node in graph.node:
        node.input[:] = [names[name] for name in node.input]
        node.output[:] = [names[name] for name in node.output]


def _convert(source: Path, folder: Path) -> None:
    from x2paddle.convert import onnx2paddle
    from x2paddle.decoder import onnx_decoder

    def refuse(*_: Any, **__: Any) -> None:
        raise NotImplementedError("x2paddle falls back to ONNX's own shape inference")

    # x2paddle's symbolic shape inference gives wrong shapes for YOLO heads; where it raises, x2paddle falls
    # back to ONNX's, which is right at a fixed input shape.
    onnx_decoder.SymbolicShapeInference.infer_shapes = refuse
    try:
        onnx2paddle(str(source), str(folder), disable_feedback=True)
    except (Exception, SystemExit) as error:  # it ends the process, with status 0, where Paddle refuses what it wrote
        raise ConversionError(_reason(error)) from error


def _reason(error: BaseException) -> str:
    """What x2paddle says, in our words where it names an operation."""
    place = re.search(r"convert failed node:(\S+), op_type is (\w+)", str(error))
    if place is not None:
        return f"{place[2]} (node {place[1]})"
    cause = error.__context__ if isinstance(error, SystemExit) and error.__context__ is not None else error
    return f"it: {headline(cause) if isinstance(cause, Exception) else 'it ended without a reason'}"
