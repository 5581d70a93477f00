"""A whole rendered repository, file by file, against the one that is kept here.

`python -m pytest tests/golden --update-golden` writes the files anew; read the diff before committing it.
"""

import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from qtriton import resources
from qtriton.backends import BACKENDS
from qtriton.backends.runner import Signature, TensorInfo
from qtriton.backends.tensorrt.recipe import engine_recipe
from qtriton.builder.assemble import publish
from qtriton.builder.placing import placed
from qtriton.builder.variant import Variant, shares
from qtriton.options import BuildOptions
from qtriton.placement.placed import Placed
from qtriton.plan import Plan
from qtriton.progress import SILENT
from qtriton.repository.check.paddle_files import messages
from qtriton.repository.manifest import File, Manifest, Metric
from qtriton.repository.record import PublishRecord
from qtriton.request import Request
from qtriton.spec_files import load_spec
from qtriton.target import Method, Precision, Target
from qtriton.workspace import sha256_file

EXPECTED = Path(__file__).parent / "expected"
#: The files that a golden compares; the rest is copied or binary, and hashed elsewhere.
TEXTS = ("config.pbtxt", "spec.json")
OUTPUTS = {"yolov5n": ("output", [25200, 85]), "mobilenet_v1": ("prob", [1000])}
#: What the artifact of a backend calls the tensors, and its batch.
OWN_NAMES = {
    "onnxruntime": ("{}", "{}", -1),
    "openvino": ("{}", "{}", 1),
    "paddle": ("x2paddle_{}", "{}.tmp_0", 1),
    "tensorrt": ("{}", "{}", -1),
    "onnxruntime-tensorrt": ("{}", "{}", -1),
    "paddle-tensorrt": ("{}", "save_infer_model/scale_0.tmp_0", 1),
}


def tiny_onnx(path: Path, name: str) -> None:
    """A valid ONNX model with the signature of the real one and no weights to speak of."""
    from onnx import TensorProto, helper, save

    spec = load_spec(name)
    output, dims = OUTPUTS[name]
    nodes = [
        helper.make_node("ReduceMean", [spec.input.name], ["mean"], axes=[1, 2, 3], keepdims=0),
        helper.make_node("Unsqueeze", ["mean", "axes"], ["column"]),
        helper.make_node("Expand", ["column", "shape"], [output]),
    ]
    constants = [
        helper.make_tensor("axes", TensorProto.INT64, [len(dims)], list(range(1, len(dims) + 1))),
        helper.make_tensor("shape", TensorProto.INT64, [len(dims) + 1], [1, *dims]),
    ]
    graph = helper.make_graph(
        nodes,
        name,
        [helper.make_tensor_value_info(spec.input.name, TensorProto.FLOAT, ["batch", *spec.input.dims])],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, ["batch", *dims])],
        constants,
    )
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), str(path))


def tiny_program(path: Path, target: Target, where: Placed) -> None:
    """A program of Paddle that says what its inputs and outputs are called, and has no operations between them."""
    proto = messages()
    assert proto is not None, "Paddle is not installed"
    own_input, own_output, batch = OWN_NAMES[target.backend]
    program = proto.ProgramDesc()
    block = program.blocks.add(idx=0, parent_idx=-1)
    sides = (
        ("feed", own_input.format(where.spec.input.name), where.spec.input.dims),
        ("fetch", own_output.format(OUTPUTS[where.spec.name][0]), OUTPUTS[where.spec.name][1]),
    )
    for kind, name, dims in sides:
        tensor = block.vars.add(name=name).type
        tensor.type = proto.VarType.LOD_TENSOR
        tensor.lod_tensor.tensor.data_type = proto.VarType.FP32
        tensor.lod_tensor.tensor.dims.extend([batch, *dims])
        operation = block.ops.add(type=kind)
        operation.inputs.add(parameter="X", arguments=[kind if kind == "feed" else name])
        operation.outputs.add(parameter="Out", arguments=[name if kind == "feed" else kind])
    path.write_bytes(program.SerializeToString())


def default_placement(target: Target, fp32: Path, name: str) -> Placed:
    """Where a build has the operations unless it is told otherwise."""
    context = SimpleNamespace(placements={}, options=BuildOptions())
    sources: Any = SimpleNamespace(spec=load_spec(name), context=context, unchanged_onnx=lambda: fp32)
    return placed(sources, target)


def artifact_of(target: Target, fp32: Path, where: Placed) -> Path:
    """A folder with the files of a target; the graph has in it what moves there."""
    folder = fp32.parent / f"{target.backend}-{target.precision.value}"
    folder.mkdir(exist_ok=True)
    for name in BACKENDS[target.backend].files(target):
        if name == "model.onnx":
            shutil.copyfile(fp32, folder / name)
            where.write(folder / name)
        elif name == "model.pdmodel":
            tiny_program(folder / name, target, where)
        else:
            (folder / name).write_text("what it holds is of no interest here")
    engine_recipe(dict(where.spec.inputs), 8, Precision.INT8_FP16).save(folder)
    return folder


def variant(target: Target, fp32: Path, name: str) -> Variant:
    where = default_placement(target, fp32, name)
    folder = artifact_of(target, fp32, where)
    metric = Metric(name="metric", value=50.0, images=10)
    files = [File(name=each, sha256=sha256_file(folder / each)) for each in BACKENDS[target.backend].files(target)]
    manifest = Manifest(
        model=name,
        title=load_spec(name).title,
        backend=target.backend,
        precision=target.precision,
        threads=target.threads,
        key="key",
        artifact=files[0],
        parts=tuple(files[1:]),
        source=File(name="weights.onnx", sha256="0" * 64),
        licence="none",
        method=None if target.precision is Precision.FP32 else Method.PTQ,
        metric=metric,
        fp32_metric=metric,
        placement=shares(where),
    )
    spec, (output, dims) = load_spec(name), OUTPUTS[name]
    own_input, own_output, batch = OWN_NAMES[target.backend]
    kind = "UINT8" if where.prologue else "FP32"
    image = TensorInfo(own_input.format(spec.input.name), kind, (batch, *where.spec.fed[0]))
    whole = Signature((image,), (TensorInfo(own_output.format(output), "FP32", (batch, *dims)),))
    record = PublishRecord(name, "spec", "key")
    return Variant(target, folder, None, where.outputs(whole), manifest, record, where, spec.max_batch_size)


@pytest.fixture
def rendered(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """The repository that a default build publishes, in every precision of every backend, of the model of the test."""
    name: str = request.param
    artifact = tmp_path / "model.onnx"
    tiny_onnx(artifact, name)
    targets = tuple(
        Target(each, precision)
        for each, backend in BACKENDS.items()
        for precision in Precision
        if precision in backend.precisions
    )
    targets += (Target("tensorrt", Precision.INT8_FP16, pinned=True),)
    wanted = Request(BuildOptions(backend=",".join(BACKENDS), repository=tmp_path / name))
    variants = [variant(target, artifact, name) for target in targets]
    publish(Plan(load_spec(name), wanted, targets, ()), artifact, variants, SILENT)
    return tmp_path / name


@pytest.mark.parametrize("rendered", OUTPUTS, indirect=True)
def test_rendered_repository(rendered: Path, pytestconfig: pytest.Config) -> None:
    expected = EXPECTED / rendered.name
    found = {str(path.relative_to(rendered)): path.read_text() for path in rendered.rglob("*") if path.name in TEXTS}
    if pytestconfig.getoption("--update-golden"):
        for name, text in found.items():
            (expected / name).parent.mkdir(parents=True, exist_ok=True)
            (expected / name).write_text(text)
    kept = {str(path.relative_to(expected)): path.read_text() for path in expected.rglob("*") if path.is_file()}
    assert sorted(found) == sorted(kept)
    for name in kept:
        assert found[name] == kept[name], name


@pytest.mark.parametrize("rendered", ["yolov5n"], indirect=True)
def test_the_shipped_code_is_a_copy(rendered: Path) -> None:
    for step, model in (("preprocess", "preprocess_model.py"), ("postprocess", "postprocess_model.py")):
        version = rendered / f"yolov5n_{step}" / "1"
        assert (version / "model.py").read_bytes() == (resources.runtime() / model).read_bytes()
        for path in version.glob("*.py"):
            if path.name != "model.py":
                assert path.read_bytes() == (resources.runtime() / path.name).read_bytes()
