"""ONNX and OpenVINO files, and accelerators: what the python-based backends of the embedded server judge alike is run."""

from dataclasses import replace
from typing import Final

import onnx
from onnx import TensorProto, helper

from e2e.check_cases.case import Case, config, tensor
from qtriton.resources import zoo

_ORT: Final = 'platform: "onnxruntime_onnx"'
#: A shape with the batch.
Shape = tuple[int | str, ...]


def graph(
    x: Shape | None = ("n", 3),
    y: Shape | None = ("n", 3),
    more: tuple[tuple[str, Shape], ...] = (),
    dtype: int = TensorProto.FLOAT,
    opset: int = 17,
    operator: str = "Identity",
    ir: int = 8,
    domain: str = "",
) -> bytes:
    """y = x; further inputs are not used."""
    inputs = [helper.make_tensor_value_info("x", dtype, x)]
    inputs += [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in more]
    outputs = [helper.make_tensor_value_info("y", dtype, y)]
    made = helper.make_graph([helper.make_node(operator, ["x"], ["y"], domain=domain)], "g", inputs, outputs)
    opsets = [helper.make_opsetid("", opset), *([helper.make_opsetid(domain, 1)] if domain else [])]
    model = helper.make_model(made, opset_imports=opsets, ir_version=ir)
    data: bytes = model.SerializeToString()
    return data


def called(
    operator: str = "Identity", domain: str = "", call: bool = True, free: bool = False, own: str = "foo"
) -> bytes:
    """A graph that calls a function Bar of the file, or does not, though it has it."""
    y = ("n", "k" if free else 3)
    model = onnx.load_from_string(graph(y=y, operator="Bar", domain=own) if call else graph(y=y))
    opsets = [helper.make_opsetid("", 17), *([helper.make_opsetid(domain, 1)] if domain else [])]
    body = [helper.make_node(operator, ["a"], ["b"], domain=domain)]
    model.functions.append(helper.make_function(own, "Bar", ["a"], ["b"], body, opsets))
    data: bytes = model.SerializeToString()
    return data


def branched(operator: str = "Identity", domain: str = "", free: bool = False) -> bytes:
    """A graph of If, with an operator in one of its branches."""
    model = onnx.load_from_string(graph(y=("n", "k" if free else 3), domain=domain))
    value = helper.make_tensor_value_info("v", TensorProto.FLOAT, None)
    branches = [helper.make_graph([helper.make_node(name, ["x"], ["v"], domain=of)], "b", [], [value])
                for name, of in ((operator, domain), ("Identity", ""))]  # fmt: skip
    truth = helper.make_node("Constant", [], ["c"], value=helper.make_tensor("c", TensorProto.BOOL, [], [True]))
    choice = helper.make_node("If", ["c"], ["y"], then_branch=branches[0], else_branch=branches[1])
    del model.graph.node[:]
    model.graph.node.extend([truth, choice])
    data: bytes = model.SerializeToString()
    return data


def external(size: int | None) -> dict[str, str | bytes]:
    """A graph that adds three numbers in a file of their own, of which so many bytes are there."""
    model = onnx.load_from_string(graph(operator="Add"))
    weights = helper.make_tensor("w", TensorProto.FLOAT, [3], [1.0, 2.0, 3.0])
    weights.ClearField("float_data")
    weights.data_location = TensorProto.EXTERNAL
    for key, value in (("location", "w.bin"), ("offset", "0"), ("length", "12")):
        weights.external_data.add(key=key, value=value)
    model.graph.initializer.append(weights)
    model.graph.node[0].input.append("w")
    return {"@/1/model.onnx": model.SerializeToString()} | ({} if size is None else {"@/1/w.bin": bytes(size)})


def _onnx(name: str, data: bytes, refused: str = "", text: str = "", also: tuple[str, ...] = ()) -> Case:
    text = text or config(backend=_ORT)
    return Case(name, {"@/config.pbtxt": text, "@/1/model.onnx": data}, refused, also)


def _read(name: str, data: bytes, refused: str = "", text: str = "", also: tuple[str, ...] = ()) -> Case:
    """Where NVIDIA's backend in C++ differs from the python-based one of the wheel's server."""
    case = _onnx(name, data, refused, text, also)
    return Case(case.name, case.files, refused, also, judge="read")


def _text(**parts: str | int) -> str:
    return config(**{"backend": _ORT, **parts})  # type: ignore[arg-type]


_OPERATIONS: Final = 'model_operations { op_library_filename: "%s" }'
_CONTROL: Final = 'sequence_batching { control_input { name: "S" control { kind: CONTROL_SEQUENCE_START fp32_false_true: [ 0, 1 ] } } }'
_STATE: Final = 'sequence_batching { state { input_name: "si" output_name: "so" data_type: TYPE_FP32 dims: [ 2 ] } }'


def _gpu(name: str, text: str, refused: str = "") -> Case:
    """An accelerator, which only the backend in C++ reads."""
    extra = f"optimization {{ execution_accelerators {{ {text} }} }}"
    return _read(f"accelerator-{name}", graph(), refused, _text(extra=extra))


ONNX: Final = (
    _onnx("onnx", graph()),
    _onnx("onnx-unbatched", graph((3,), (3,)), text=_text(batch=0)),
    _onnx("onnx-no-backend", graph(), text=config(backend="")),
    _onnx("onnx-broken", b"\x08\x07garbage", "onnx-broken"),
    _onnx("onnx-empty", b"", "onnx-broken"),
    _onnx("onnx-cut-off", graph()[:-9], "onnx-broken"),
    _onnx("onnx-input-name", graph(), "file-tensor-unknown", _text(inputs=tensor("input", "q"))),
    _onnx("onnx-output-name", graph(), "file-tensor-unknown", _text(outputs=tensor("output", "q"))),
    _onnx("onnx-input-type", graph(), "file-type", _text(inputs=tensor("input", "x", dtype="TYPE_FP64"))),
    _onnx("onnx-output-type", graph(), "file-type", _text(outputs=tensor("output", "y", dtype="TYPE_INT64"))),
    _onnx("onnx-input-dims", graph(), "file-dims", _text(inputs=tensor("input", "x", "[ 4 ]"))),
    _onnx("onnx-output-dims", graph(), "file-dims", _text(outputs=tensor("output", "y", "[ 4 ]"))),
    _onnx("onnx-rank", graph(), "file-dims", _text(inputs=tensor("input", "x", "[ 3, 1 ]"))),
    _onnx("onnx-fixed-batch", graph((1, 3), (1, 3)), "file-batch"),
    _onnx("onnx-input-unlisted", graph(more=(("z", ("n", 1)),)), "file-input-unlisted"),
    _onnx("onnx-input-listed", graph(more=(("z", ("n", 1)),)), text=_text(inputs=tensor("input", "x") + tensor("input", "z", "[ 1 ]"))),
    _onnx("onnx-input-free-in-the-file", graph(("n", "k"), ("n", "k")), text=_text(outputs=tensor("output", "y", "[ -1 ]"))),
    # The file leaves free what follows from its graph.
    _onnx("onnx-output-inferred", graph(("n", 3), ("n", "k"))),
    _onnx("onnx-output-inferred-free-in-the-config", graph(("n", 3), ("n", "k")), "file-dims", _text(outputs=tensor("output", "y", "[ -1 ]"))),
    _onnx("onnx-output-inferred-unbatched", graph((1, 3), ("n", 3)), text=_text(batch=0, inputs=tensor("input", "x", "[ 1, 3 ]"), outputs=tensor("output", "y", "[ 1, 3 ]"))),
    _onnx("onnx-output-inferred-by-the-runtime", graph(("n", 3), ("n", "k"), operator="Gelu", domain="com.microsoft")),
    _onnx("onnx-output-inferred-batch", graph((1, 3), ("n", 3)), "file-batch"),
    _onnx("onnx-input-free-in-the-config", graph(), "file-dims", _text(inputs=tensor("input", "x", "[ -1 ]"))),
    _onnx("onnx-reshape", graph(("n", 3, 1), ("n", 3, 1)), text=_text(inputs=tensor("input", "x", "[ 3 ]", extra="reshape { shape: [ 3, 1 ] }"), outputs=tensor("output", "y", "[ 3, 1 ]"))),
    _onnx("onnx-unknown-operator", graph(operator="NoSuchThing"), "onnx-operator"),
    *(
        _onnx(f"onnx-operator-{name}", data, rule)
        for name, data, rule in (
            ("foreign", graph(operator="Bar", domain="foo"), "onnx-operator"),
            ("of-a-function", called(), ""),
            ("unknown-of-a-function", called("NoSuchThing"), "onnx-operator"),
            ("foreign-of-a-function", called("Bar", "bar"), "onnx-operator"),
            ("of-a-function-in-onnx", called(own=""), "onnx-operator"),
            ("of-a-function-not-called", called("NoSuchThing", call=False), ""),
            ("of-the-runtime", graph(operator="Gelu", domain="com.microsoft"), ""),
            ("of-a-branch", branched(), ""),
            ("unknown-of-a-branch", branched("NoSuchThing"), "onnx-operator"),
            ("foreign-of-a-branch", branched("Bar", "foo"), "onnx-operator"))
    ),
    _read("onnx-library", graph(operator="Bar", domain="foo"), text=_text(extra=_OPERATIONS % "/lib/x86_64-linux-gnu/libm.so.6")),
    _read("onnx-library-missing", graph(operator="Bar", domain="foo"), text=_text(extra=_OPERATIONS % "/opt/no/such.so"), also=("onnx-library",)),
    _read("onnx-operator-of-an-accelerator", graph(operator="Bar", domain="trt.plugins"), text=_text(extra='optimization { execution_accelerators { gpu_execution_accelerator { name: "tensorrt" } } }')),
    _onnx("onnx-output-inferred-in-a-function", called(free=True)),
    _onnx("onnx-output-inferred-in-a-branch-by-the-runtime", branched("Gelu", "com.microsoft", free=True)),
    _onnx("onnx-opset-21", graph(opset=21)),
    _onnx("onnx-opset-22", graph(opset=22), also=("onnx-opset",)),
    _onnx("onnx-opset-99", graph(opset=99), "onnx-version"),
    _onnx("onnx-ir-99", graph(ir=99), "onnx-version", also=("onnx-opset",)),
    Case("onnx-external", {"@/config.pbtxt": _text(), **external(12)}),
    Case("onnx-external-missing", {"@/config.pbtxt": _text(), **external(None)}, "onnx-external-data"),
    Case("onnx-external-short", {"@/config.pbtxt": _text(), **external(8)}, "onnx-external-data"),
    # As the backend in C++ does it.
    _read("onnx-output-free-in-the-file", graph(("n", "k"), ("n", "k")), "file-dims"),
    _read("onnx-scalar", graph((), ()), text=_text(batch=0, inputs=tensor("input", "x", "[ 1 ]"), outputs=tensor("output", "y", "[ 1 ]"))),
    _read("onnx-scalar-of-three", graph((), ()), "file-dims", _text(batch=0)),
    Case("onnx-folder", {"@/config.pbtxt": _text(), "@/1/model.onnx/model.onnx": graph()}, judge="read"),
    Case("onnx-folder-empty", {"@/config.pbtxt": _text(), "@/1/model.onnx/x": ""}, "onnx-broken", judge="read"),
    _read("onnx-optional-batched", graph(), "file-optional-batched", _text(inputs=tensor("input", "x", extra="optional: true"))),
    _read("onnx-optional-unbatched", graph((3,), (3,)), text=_text(batch=0, inputs=tensor("input", "x", extra="optional: true"))),
    _read("onnx-control", graph(more=(("S", ("n", 1)),)), text=_text(extra=_CONTROL)),
    _read("onnx-control-missing", graph(), "file-tensor-unknown", _text(extra=_CONTROL)),
    _read("onnx-control-dims", graph(more=(("S", ("n", 2)),)), "file-control", _text(extra=_CONTROL)),
    _read("onnx-state", graph(more=(("si", ("n", 2)),)), text=_text(extra=_STATE)),
    _gpu("tensorrt", 'gpu_execution_accelerator { name: "tensorrt" parameters { key: "precision_mode" value: "FP16" } }'),
    _gpu("unknown", 'gpu_execution_accelerator { name: "no_such" }', "accelerator-name"),
    _gpu("cuda", 'gpu_execution_accelerator { name: "cuda" parameters { key: "anything" value: "1" } }'),
    _gpu("parameter", 'gpu_execution_accelerator { name: "tensorrt" parameters { key: "no_such" value: "1" } }', "accelerator-parameter"),
    _gpu("precision", 'gpu_execution_accelerator { name: "tensorrt" parameters { key: "precision_mode" value: "FP8" } }', "accelerator-precision"),
    _gpu("openvino", 'cpu_execution_accelerator { name: "openvino" }'),
    _gpu("unknown-of-the-cpu", 'cpu_execution_accelerator { name: "tensorrt" }', "accelerator-name"),
)  # fmt: skip


def ir(x: str = "3", kind: str = "f32", port: str = "FP32", name: str = "x") -> str:
    """An IR of y = relu(x) in plain XML, as OpenVINO writes it."""
    dims = f"<dim>-1</dim><dim>{x}</dim>"
    return f"""<?xml version="1.0"?>
<net name="n" version="11"><layers>
<layer id="0" name="{name}" type="Parameter" version="opset1"><data shape="?,{x}" element_type="{kind}" />
<output><port id="0" precision="{port}" names="{name}">{dims}</port></output></layer>
<layer id="1" name="r" type="ReLU" version="opset1"><input><port id="0" precision="{port}">{dims}</port></input>
<output><port id="1" precision="{port}" names="y">{dims}</port></output></layer>
<layer id="2" name="y/sink" type="Result" version="opset1"><input><port id="0" precision="{port}">{dims}</port></input></layer>
</layers><edges><edge from-layer="0" from-port="0" to-layer="1" to-port="0" />
<edge from-layer="1" from-port="1" to-layer="2" to-port="0" /></edges></net>
"""


def _ir(name: str, xml: str, refused: str = "", weights: bytes | None = b"", **parts: str) -> Case:
    text = config(**{"backend": 'backend: "openvino"', **parts})  # type: ignore[arg-type]
    files = {"@/config.pbtxt": text, "@/1/model.xml": xml} | ({} if weights is None else {"@/1/model.bin": weights})
    return Case(name, files, refused)


#: One that keeps a number in its weights.
_CONSTANT: Final = ir().replace(
    "</layers>",
    '<layer id="9" name="c" type="Const" version="opset1"><data element_type="f32" shape="1" offset="0" size="4" />'
    '<output><port id="0" precision="FP32"><dim>1</dim></port></output></layer></layers>',
)
_OPENVINO: Final = (
    _ir("ir", ir()),
    _ir("ir-no-backend", ir(), backend=""),
    _ir("ir-without-weights-to-have", ir(), weights=None),
    replace(_ir("ir-no-weights", _CONSTANT, "openvino-weights", None), judge="read"),
    replace(_ir("ir-weights", _CONSTANT, weights=bytes(4)), judge="read"),
    _ir("ir-not-xml", "<net", "openvino-broken"),
    _ir("ir-other-xml", "<html/>", "openvino-broken"),
    _ir("ir-input-name", ir(name="q"), "file-tensor-unknown"),
    _ir("ir-output-name", ir(), "file-tensor-unknown", outputs=tensor("output", "q")),
    _ir("ir-dims", ir(x="4"), "file-dims"),
    _ir("ir-type", ir(kind="f64", port="FP64"), "file-type"),
    _ir("ir-rank", ir(), "file-dims", inputs=tensor("input", "x", "[ 3, 1 ]")),
)
#: The demo's program, x of [-1, 3, 224, 224] to the raw rows of its head.
_DEMO: Final = zoo() / "demo_digits"
_PROGRAM: Final = (_DEMO / "inference.pdmodel").read_bytes()
_WEIGHTS: Final = (_DEMO / "inference.pdiparams").read_bytes()
_IMAGE: Final = tensor("input", "image", "[ 3, 224, 224 ]")
_ROWS: Final = "save_infer_model/scale_0.tmp_0"


def _program(name: str, refused: str = "", program: bytes = _PROGRAM, weights: bool = True, **parts: str) -> Case:
    given = {"backend": 'backend: "paddle"', "inputs": _IMAGE, "outputs": "", **parts}
    text = config(**given)  # type: ignore[arg-type]
    files: dict[str, str | bytes | None] = {"@/config.pbtxt": text, "@/1/model.pdmodel": program}
    also = () if given["outputs"] else ("no-outputs",)
    return Case(name, files | ({"@/1/model.pdiparams": _WEIGHTS} if weights else {}), refused, also)


_PADDLE: Final = (
    _program("paddle-broken", "paddle-broken", b"\x00program"),
    _program("paddle-no-weights", "paddle-weights", weights=False),
    _program("paddle-input-name", "file-tensor-unknown", inputs=tensor("input", "q", "[ 3, 224, 224 ]")),
    _program("paddle-output-name", "file-tensor-unknown", outputs=tensor("output", "q")),
    _program("paddle-dims", "file-dims", inputs=tensor("input", "image", "[ 3, 224, 225 ]")),
    _program("paddle-type", "file-type", inputs=tensor("input", "image", "[ 3, 224, 224 ]", "TYPE_FP16")),
    _program("paddle"),
    _program("paddle-output", outputs=tensor("output", _ROWS, "[ 980, 15 ]")),
    # The backend tells the number of an output's sizes alone.
    _program("paddle-output-dims", outputs=tensor("output", _ROWS, "[ 981, -1 ]")),
    _program("paddle-output-rank", "file-dims", outputs=tensor("output", _ROWS, "[ 980 ]")),
    _program("paddle-output-type", "file-type", outputs=tensor("output", _ROWS, "[ 980, 15 ]", "TYPE_INT64")),
)
MODEL_FILES: Final = (*ONNX, *_OPENVINO, *_PADDLE)
