"""Converts an FP32 ONNX file to a Paddle inference model (runs in the compression worker)."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from qtriton.compress.converting import convert
from qtriton.fresh_names import FreshNames

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from onnx import ModelProto, NodeProto

MODEL_FILE: Final = "inference.pdmodel"
PARAMS_FILE: Final = "inference.pdiparams"


def random_image(shape: tuple[int, ...]) -> NDArray[np.float32]:
    """A batch of noise in [0, 1), always the same."""
    import numpy as np

    return np.random.default_rng(0).random(shape, np.float32)


def import_onnx(source: Path, shape: tuple[int, ...], folder: Path) -> Path:
    """Write `source`, with its one input fixed to `shape`, as a Paddle inference model; return its folder."""
    import onnx

    fixed_shape_file = folder / "fixed.onnx"
    folder.mkdir(parents=True, exist_ok=True)
    onnx.save(_fix_shape(onnx.load(str(source)), shape), str(fixed_shape_file))
    convert(fixed_shape_file, folder / "x2paddle")
    model = folder / "x2paddle" / "inference_model"
    if not (model / "model.pdmodel").is_file():
        # x2paddle reports many failures on stdout only and returns as if all were well.
        raise RuntimeError(f"x2paddle wrote no Paddle model for {source}")
    paddle_folder = folder / "paddle"
    paddle_folder.mkdir(exist_ok=True)
    (model / "model.pdmodel").replace(paddle_folder / MODEL_FILE)
    (model / "model.pdiparams").replace(paddle_folder / PARAMS_FILE)
    return paddle_folder


def _fix_shape(model: ModelProto, shape: tuple[int, ...]) -> ModelProto:
    import onnx
    import onnxsim

    constants = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in constants]
    if len(inputs) != 1:
        raise RuntimeError(f"the model has {len(inputs)} inputs, compression needs exactly one")
    simplified, _ = onnxsim.simplify(model, overwrite_input_shapes={inputs[0].name: list(shape)})
    inferred = onnx.shape_inference.infer_shapes(simplified)
    weights = {tensor.name: tensor.dims for tensor in inferred.graph.initializer}
    for node in inferred.graph.node:
        if node.op_type in ("Conv", "ConvTranspose") and not any(a.name == "kernel_shape" for a in node.attribute):
            # Optional in ONNX, but not for x2paddle.
            node.attribute.append(onnx.helper.make_attribute("kernel_shape", weights[node.input[1]][2:]))
        if node.op_type == "Resize":
            _rename_half_pixel(node)
            if len(node.input) == 4:
                _sizes_to_scales(inferred, node)
        if node.op_type == "Slice":
            _bound_ends(inferred, node)
        if node.op_type == "Pad":
            _concat_channels(inferred, node)
        if node.op_type == "Gemm":
            _transpose_weights(inferred, node)
        if node.op_type.endswith("Pool"):
            _drop_dilations(node)
    _rename_tensors(inferred)
    return inferred


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


def _drop_dilations(node: NodeProto) -> None:
    """x2paddle refuses a pooling that states its dilations, as PyTorch's exporter does, even where they are 1."""
    attributes = [each for each in node.attribute if each.name != "dilations" or set(each.ints) != {1}]
    del node.attribute[:]
    node.attribute.extend(attributes)


def _rename_half_pixel(node: NodeProto) -> None:
    """Give half pixels PyTorch's name: x2paddle knows no other, and aligns the corners otherwise.

    The two differ where the result is one pixel large.
    """
    from onnx import helper

    name = "coordinate_transformation_mode"
    mode = next((each for each in node.attribute if each.name == name), None)
    if mode is None:
        node.attribute.append(helper.make_attribute(name, "pytorch_half_pixel"))
    elif mode.s == b"half_pixel":
        mode.s = b"pytorch_half_pixel"


def _transpose_weights(model: ModelProto, node: NodeProto) -> None:
    """Write transposed weights untransposed: Paddle 2.6.2 quantizes a trans_y along the wrong axis."""
    import numpy as np
    from onnx import numpy_helper

    weights = {tensor.name: tensor for tensor in model.graph.initializer}.get(node.input[1])
    trans_b = next((each for each in node.attribute if each.name == "transB" and each.i), None)
    if weights is None or trans_b is None:
        return
    name = FreshNames(model).fresh(f"{node.input[1]}_columns")
    columns = np.ascontiguousarray(numpy_helper.to_array(weights).T)
    model.graph.initializer.append(numpy_helper.from_array(columns, name))
    node.input[1] = name
    node.attribute.remove(trans_b)


def _concat_channels(model: ModelProto, node: NodeProto) -> None:
    """Replace padding of channels with a constant by a Concat: under oneDNN Paddle's `pad` corrupts memory."""
    import numpy as np
    from onnx import helper, numpy_helper

    constants, sizes = _constants(model), _dims(model, node.input[0])
    mode = next((each.s for each in node.attribute if each.name == "mode"), b"constant")
    pads = constants.get(node.input[1]) if len(node.input) > 1 else None
    if pads is None or mode != b"constant" or len(pads) != 8 or pads.min() < 0 or np.delete(pads, [1, 5]).any():
        return
    value = constants[node.input[2]] if len(node.input) > 2 and node.input[2] else np.zeros(1, np.float32)
    names = FreshNames(model)
    sides = (("before", int(pads[1])), ("behind", int(pads[5])))
    counts = {names.fresh(f"{node.output[0]}_{side}"): count for side, count in sides}
    for name in filter(counts.get, counts):
        padding = np.full((sizes[0], counts[name], *sizes[2:]), value.reshape(-1)[0], value.dtype)
        model.graph.initializer.append(numpy_helper.from_array(padding, name))
    before, behind = ([name] if counts[name] else [] for name in counts)
    parts = [*before, node.input[0], *behind]
    node.CopyFrom(helper.make_node("Concat", parts, list(node.output), name=node.name, axis=1))


def _constants(model: ModelProto) -> dict[str, Any]:
    """The arrays of initializers and of Constant nodes by name."""
    from onnx import numpy_helper

    nodes = [(node.output[0], each.t) for node in model.graph.node for each in node.attribute if each.name == "value"]
    tensors = [*((tensor.name, tensor) for tensor in model.graph.initializer), *nodes]
    return {name: numpy_helper.to_array(tensor) for name, tensor in tensors}


def _bound_ends(model: ModelProto, node: NodeProto) -> None:
    """Limit the ends of a Slice to the sizes: ONNX says "to the end" with the largest int64, which Paddle's int32 turns
    into -1, and it then writes out of bounds.
    """
    import numpy as np
    from onnx import numpy_helper

    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    if node.input[2] not in constants:
        return
    ends = numpy_helper.to_array(constants[node.input[2]])
    axes = range(len(ends))
    if len(node.input) > 3 and node.input[3] in constants:
        axes = numpy_helper.to_array(constants[node.input[3]]).tolist()
    sizes = _dims(model, node.input[0])
    limits = np.array([min(int(end), sizes[axis]) for end, axis in zip(ends, axes, strict=True)], ends.dtype)
    name = FreshNames(model).fresh(f"{node.output[0]}_ends")
    model.graph.initializer.append(numpy_helper.from_array(limits, name))
    node.input[2] = name


def _sizes_to_scales(model: ModelProto, node: NodeProto) -> None:
    """Replace the sizes of a Resize by scales: x2paddle reads nothing else."""
    import numpy as np
    from onnx import numpy_helper

    before, after = (_dims(model, name) for name in (node.input[0], node.output[0]))
    scales = np.array([b / a for a, b in zip(before, after, strict=True)], dtype=np.float32)
    name = FreshNames(model).fresh(f"{node.output[0]}_scales")
    model.graph.initializer.append(numpy_helper.from_array(scales, name))
    roi = node.input[1]
    inputs = [node.input[0], roi, name]
    del node.input[:]
    node.input.extend(inputs)


def _dims(model: ModelProto, name: str) -> list[int]:
    for value in (*model.graph.value_info, *model.graph.input, *model.graph.output):
        if value.name == name:
            return [dim.dim_value for dim in value.type.tensor_type.shape.dim]
    raise RuntimeError(f"the shape of tensor {name} is unknown")
