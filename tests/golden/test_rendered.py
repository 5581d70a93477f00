"""A whole rendered repository, file by file, against the one that is kept here.

`python -m pytest tests/golden --update-golden` writes the files anew; read the diff before committing it.
"""

from pathlib import Path

import pytest

from qtriton import resources
from qtriton.backends import BACKENDS
from qtriton.backends.runner import Signature, TensorInfo
from qtriton.backends.tensorrt.recipe import engine_recipe
from qtriton.builder.assemble import publish
from qtriton.builder.variant import Variant
from qtriton.options import BuildOptions
from qtriton.plan import Plan
from qtriton.progress import SILENT
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


def variant(target: Target, artifact: Path, name: str) -> Variant:
    metric = Metric(name="metric", value=50.0, images=10)
    names = BACKENDS[target.backend].files(target)
    files = [File(name=each, sha256=sha256_file(artifact.parent / each)) for each in names]
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
    )
    spec, (output, dims) = load_spec(name), OUTPUTS[name]
    own_input, own_output, batch = OWN_NAMES[target.backend]
    signature = Signature(
        (TensorInfo(own_input.format(spec.input.name), "FP32", (batch, *spec.input.dims)),),
        (TensorInfo(own_output.format(output), "FP32", (batch, *dims)),),
    )
    return Variant(
        target, artifact.parent, None, signature, manifest, PublishRecord(name, "spec", "key"), spec.max_batch_size
    )


@pytest.fixture
def rendered(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """The repository of an INT8 build on every backend of the model that the test names."""
    name: str = request.param
    artifact = tmp_path / "model.onnx"
    tiny_onnx(artifact, name)
    for part in ("model.pdmodel", "model.pdiparams", "model.fp32.onnx"):
        (tmp_path / part).write_text("what it holds is of no interest here")
    engine_recipe(dict(load_spec(name).inputs), 8, Precision.INT8_FP16).save(tmp_path)
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
