"""A good repository has no problem; each row breaks one thing in it and names what must be said of it."""

import json
import shutil
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import TypeAlias

import onnx
import pytest
from onnx import TensorProto, helper

from qtriton.backends.base import Serving
from qtriton.errors import InputError
from qtriton.repository.check import Problem, Severity, check
from qtriton.repository.config import Config, DataType, Ensemble, EnsembleStep, PythonStep, RuntimeStep, Tensor
from qtriton.repository.render import render_config

IMAGE = Tensor("image", DataType.STRING, (1,))
PIXELS = Tensor("x", DataType.FP32, (3, 8, 8))
GEOMETRY = Tensor("geometry", DataType.FP32, (6,))
RAW = Tensor("raw", DataType.FP32, (10, -1))
SCORES = Tensor("scores", DataType.FP32, (5,))

#: Of the graph, the shape with the batch.
Shape: TypeAlias = tuple[int | str, ...]
#: Several changes are a tuple of what each returns.
Change: TypeAlias = Callable[[Path], object]


def graph(
    inputs: dict[str, tuple[int, Shape]] | None = None, outputs: dict[str, tuple[int, Shape]] | None = None
) -> bytes:
    """An ONNX file with these inputs and outputs; what is between is of no interest here."""
    takes = {"x": (TensorProto.FLOAT, ("n", 3, 8, 8))} if inputs is None else inputs
    gives = {"raw": (TensorProto.FLOAT, ("n", 10, "k"))} if outputs is None else outputs
    values = [[helper.make_tensor_value_info(n, t, s) for n, (t, s) in side.items()] for side in (takes, gives)]
    nodes = [helper.make_node("Identity", [next(iter(takes))], [name]) for name in gives]
    data: bytes = helper.make_model(helper.make_graph(nodes, "g", values[0], values[1])).SerializeToString()
    return data


def write(repository: Path, config: Config, **files: str | bytes) -> None:
    version = repository / config.name / "1"
    version.mkdir(parents=True)
    (version.parent / "config.pbtxt").write_text(render_config(config), encoding="utf-8")
    for name, content in files.items():
        data = content if isinstance(content, bytes) else content.encode()
        (version / name.replace("__", ".")).write_bytes(data)


def model_py(*imports: str) -> str:
    return "\n".join((*imports, "class TritonPythonModel:", "    pass", ""))


@pytest.fixture
def good(tmp_path: Path) -> Path:
    """pre (python) -> run (ONNX) -> post (python), joined by m; .gitignore and a README beside them."""
    repository, onnx_file = tmp_path / "repository", graph()
    pre = PythonStep("pre", 4, (IMAGE,), (PIXELS, GEOMETRY))
    write(
        repository, pre, model__py=model_py("from .ops import f"), ops__py="from .settings import g\n",
        settings__py='SPEC = "spec.json"\n', spec__json='{"ops": []}',
    )  # fmt: skip
    manifest = json.dumps({"artifact": {"name": "int8.onnx", "sha256": sha256(onnx_file).hexdigest()}})
    run = RuntimeStep("run", Serving(platform="onnxruntime_onnx"), 4, (PIXELS,), (RAW,))
    write(repository, run, model__onnx=onnx_file, manifest__json=manifest)
    write(repository, PythonStep("post", 4, (RAW, GEOMETRY), (SCORES,)), model__py=model_py())
    steps = (
        EnsembleStep("pre", (("image", "image"),), (("x", "pixels"), ("geometry", "geometry"))),
        EnsembleStep("run", (("x", "pixels"),), (("raw", "raw"),)),
        EnsembleStep("post", (("raw", "raw"), ("geometry", "geometry")), (("scores", "scores"),)),
    )
    write(repository, Ensemble("m", 4, (IMAGE,), (SCORES,), steps, (("qtriton", "{}"),)), build__json="{}")
    (repository / ".gitignore").write_text("*\n")
    (repository / "README.md").write_text("plain files are none of Triton's business\n")
    return repository


def edit(model: str, old: str, new: str, file: str = "config.pbtxt") -> Change:
    def change(repository: Path) -> None:
        path = repository / model / file
        text = path.read_text()
        assert old in text, f"{old!r} is not in {path.name}: the row breaks nothing"
        path.write_text(text.replace(old, new, 1))

    return change


def add(model: str, text: str, file: str = "config.pbtxt") -> Change:
    def change(repository: Path) -> None:
        path = repository / model / file
        path.write_text((path.read_text() if path.exists() else "") + text)

    return change


def put(path: str, data: bytes | str) -> Change:
    def change(repository: Path) -> None:
        (repository / path).parent.mkdir(parents=True, exist_ok=True)
        (repository / path).write_bytes(data if isinstance(data, bytes) else data.encode())

    return change


def drop(path: str) -> Change:
    def change(repository: Path) -> None:
        target = repository / path
        shutil.rmtree(target) if target.is_dir() else target.unlink()

    return change


def rename(old: str, new: str) -> Change:
    def change(repository: Path) -> None:
        (repository / old).rename(repository / new)

    return change


def ensemble_of(name: str, step: str) -> Change:
    """Another ensemble around one step that takes an image and gives scores."""
    inner = EnsembleStep(step, (("image", "image"),), (("scores", "scores"),))
    return lambda repository: write(repository, Ensemble(name, 4, (IMAGE,), (SCORES,), (inner,)), build__json="{}")


def onnx_file(
    inputs: dict[str, tuple[int, Shape]] | None = None, outputs: dict[str, tuple[int, Shape]] | None = None
) -> Change:
    def change(repository: Path) -> None:
        drop("run/1/manifest.json")(repository)
        put("run/1/model.onnx", graph(inputs, outputs))(repository)

    return change


def test_a_good_repository_has_no_problem(good: Path) -> None:
    assert check(good) == []


FIXED = onnx_file({"x": (TensorProto.FLOAT, (1, 3, 8, 8))}, {"raw": (TensorProto.FLOAT, (1, 10, "k"))})
#: The runtime step as an ONNX file for OpenVINO.
IN_OPENVINO = edit("run", 'platform: "onnxruntime_onnx"', 'backend: "openvino" default_model_filename: "model.onnx"')

GOOD = {
    "a config without a name": edit("run", 'name: "run"', ""),
    "an ensemble in an ensemble": ensemble_of("outer", "m"),
    "a second version, which is the one that is served": lambda repository: shutil.copytree(
        repository / "run/1", repository / "run/2"
    ),
    "an old version without its file": lambda repository: (
        rename("run/1", "run/2")(repository),
        put("run/1/x", "")(repository),
    ),
    "a folder that is no version": put("run/notes/x.txt", ""),
    "a model file of another name": lambda repository: (
        rename("run/1/model.onnx", "run/1/net.onnx")(repository),
        add("run", 'default_model_filename: "net.onnx"\n')(repository),
    ),
    "a batch that is fixed at max_batch_size, in OpenVINO": lambda repository: (
        FIXED(repository),
        IN_OPENVINO(repository),
        edit("run", "max_batch_size: 4", "max_batch_size: 1")(repository),
        edit("m", "max_batch_size: 4", "max_batch_size: 1")(repository),
    ),
    "a backend of one's own": lambda repository: (
        edit("post", 'backend: "python"', 'backend: "mine"')(repository),
        rename("post/1/model.py", "post/1/weights")(repository),
    ),
    "an output of the graph that is not served": onnx_file(
        None, {"raw": (TensorProto.FLOAT, ("n", 10, "k")), "more": (TensorProto.FLOAT, ("n", 1))}
    ),
    "a package of the step's own": lambda repository: (
        put("post/1/lib/__init__.py", "from .a import f\n")(repository),
        put("post/1/lib/a.py", "from ..helper import g\n")(repository),
        put("post/1/helper.py", "")(repository),
        put("post/1/model.py", model_py("from .lib import f", "from . import helper"))(repository),
    ),
    "a class that is imported": lambda repository: (
        put("post/1/model.py", "from .impl import Model as TritonPythonModel\n")(repository),
        put("post/1/impl.py", "class Model: ...\n")(repository),
    ),
    "an input that may be left out": lambda repository: (
        edit("post", 'name: "geometry"', 'name: "geometry" optional: true')(repository),
        edit("m", '    input_map { key: "geometry" value: "geometry" }\n', "")(repository),
        edit("m", '    output_map { key: "geometry" value: "geometry" }\n', "")(repository),
    ),
    "instances on the GPU": edit("post", "KIND_CPU count: 1", "KIND_GPU count: 2 gpus: [0, 1]"),
    "a reshape of the same size": edit("pre", "dims: [3, 8, 8]", "dims: [3, 8, 8] reshape { shape: [3, 64] }"),
}


@pytest.mark.parametrize("change", GOOD.values(), ids=GOOD.keys())
def test_what_triton_accepts_is_no_problem(good: Path, change: Change) -> None:
    change(good)

    assert check(good) == []


#: (the one thing that is broken, model/where, a part of the sentence)
ROWS: dict[str, tuple[Change, str, str]] = {
    # the folder and the config as a whole
    "no config": (drop("run/config.pbtxt"), "run/config.pbtxt", "is missing"),
    "config is no protobuf text": (add("run", "max_batch_size {\n"), "run/config.pbtxt", "is not valid, line"),
    "unknown field": (add("run", "no_such: 1\n"), "run/config.pbtxt", "no_such"),
    "config is not text": (put("run/config.pbtxt", b"\xff\xfe"), "run/config.pbtxt", "is not valid, line 1:1"),
    "config is empty": (put("run/config.pbtxt", ""), "run/config.pbtxt", "has no input"),
    "other name": (edit("run", 'name: "run"', 'name: "ran"'), "run/config.pbtxt", "name is 'ran', the folder is 'run'"),
    "unknown platform": (
        edit("run", "onnxruntime_onnx", "onnxruntime"), "run/config.pbtxt",
        "neither the platform 'onnxruntime' nor a model file tells"),
    "platform of another backend": (
        add("run", 'backend: "tensorrt"\n'), "run/config.pbtxt", "does not fit the backend 'tensorrt'"),
    "no backend": (
        lambda repository: (
            edit("post", 'backend: "python"', "")(repository),
            rename("post/1/model.py", "post/1/net.py")(repository),
        ),
        "post/config.pbtxt", "no backend is named"),
    "negative batch": (
        edit("run", "max_batch_size: 4", "max_batch_size: -1"), "run/config.pbtxt", "max_batch_size is -1"),
    "a hidden folder": (put(".cache/x", ""), ".cache", "Triton takes a hidden folder for a model too"),
    "a python step that a shell would not find": (rename("post", "p(ost"), "p(ost", "has a name that a shell"),
    # tensors
    "no outputs": (
        put("post/config.pbtxt", 'name: "post" backend: "python"'),
        "post/config.pbtxt", "has no output"),
    "no data type": (
        edit("post", "data_type: TYPE_FP32", ""), "post/config.pbtxt", "input 'raw' has no data_type"),
    "no dims": (edit("post", "dims: [10, -1]", ""), "post/config.pbtxt", "input 'raw' has no dims"),
    "a size of 0": (edit("post", "dims: [10, -1]", "dims: [10, 0]"), "post/config.pbtxt", "has dims [10, 0]"),
    "a size of -2": (edit("post", "dims: [10, -1]", "dims: [10, -2]"), "post/config.pbtxt", "has dims [10, -2]"),
    "no tensor name": (edit("post", 'name: "raw"', ""), "post/config.pbtxt", "has no name"),
    "name twice": (
        edit("post", 'name: "geometry"', 'name: "raw"'), "post/config.pbtxt", "input 'raw' is listed 2 times"),
    "reshape of another size": (
        edit("pre", "dims: [6]", "dims: [6] reshape { shape: [5] }"), "pre/config.pbtxt", "reshape [5] of another"),
    "reshape over a free size": (
        edit("post", "dims: [10, -1]", "dims: [10, -1] reshape { shape: [-1, 10] }"), "post/config.pbtxt",
        "reshape [-1, 10] of another size"),
    "reshape with 0": (
        edit("pre", "dims: [6]", "dims: [6] reshape { shape: [6, 0] }"), "pre/config.pbtxt", "has reshape [6, 0]"),
    "empty reshape without a batch": (
        put("odd/config.pbtxt", 'name: "odd" backend: "x" input { name: "i" data_type: TYPE_FP32 dims: 1 reshape {} }'),
        "odd/config.pbtxt", "has an empty reshape"),
    # batching, instances, warm-up, versions
    "preferred size too large": (
        edit("run", "dynamic_batching {", "dynamic_batching { preferred_batch_size: [2, 8]"), "run/config.pbtxt",
        "preferred_batch_size 8 is not between 1 and max_batch_size 4"),
    "preferred size 0": (
        edit("run", "dynamic_batching {", "dynamic_batching { preferred_batch_size: [0]"), "run/config.pbtxt",
        "preferred_batch_size 0"),
    "dynamic batching without a batch": (
        edit("run", "max_batch_size: 4", "max_batch_size: 0"), "run/config.pbtxt", "with max_batch_size 0"),
    "negative count": (edit("run", "count: 1", "count: -1"), "run/config.pbtxt", "has count -1"),
    "CPU with GPUs": (edit("run", "count: 1", "count: 1 gpus: [0]"), "run/config.pbtxt", "KIND_CPU but names gpus"),
    "negative GPU": (
        edit("run", "KIND_CPU count: 1", "KIND_GPU count: 1 gpus: [-1]"), "run/config.pbtxt", "a negative gpu"),
    "warm-up of another input": (
        edit("run", 'key: "x"', 'key: "y"'), "run/config.pbtxt", "has an input 'y', which is no input of the model"),
    "warm-up without an input": (
        edit("run", 'key: "x"', 'key: "y"'), "run/config.pbtxt", "has no input 'x'"),
    "warm-up type": (
        edit("run", "value: { data_type: TYPE_FP32", "value: { data_type: TYPE_UINT8"), "run/config.pbtxt",
        "as TYPE_UINT8, the input is TYPE_FP32"),
    "warm-up size": (
        edit("run", "dims: [3, 8, 8] zero", "dims: [3, 8, 9] zero"), "run/config.pbtxt", "has dims [3, 8, 9]"),
    "warm-up with a free size": (
        edit("run", "dims: [3, 8, 8] zero", "dims: [3, 8, -1] zero"), "run/config.pbtxt", "must be fixed"),
    "warm-up without data": (edit("run", "zero_data: true", ""), "run/config.pbtxt", "has no data for 'x'"),
    "warm-up batch": (edit("run", "batch_size: 1", "batch_size: 5"), "run/config.pbtxt", "has batch_size 5"),
    "policy names a missing version": (
        add("run", "version_policy { specific { versions: [1, 3] } }\n"), "run/config.pbtxt", "names version 3"),
    # files
    "no version": (drop("run/1"), "run", "has no version folder"),
    "version begins with 0": (rename("run/1", "run/01"), "run", "has no version folder"),
    "no model file": (drop("run/1/model.onnx"), "run/1", "has no model.onnx"),
    "no named model file": (add("run", 'default_model_filename: "n.onnx"\n'), "run/1", "has no n.onnx"),
    "the latest version has no model file": (put("run/2/x", ""), "run/2", "has no model.onnx"),
    "an empty version of an ensemble": (drop("m/1/build.json"), "m/1", "is empty: git and S3 drop it"),
    "no model.py": (drop("post/1/model.py"), "post/1", "has no model.py"),
    "no plan": (edit("run", "onnxruntime_onnx", "tensorrt_plan"), "run/1", "has no model.plan"),
    "no module beside model.py": (drop("pre/1/ops.py"), "pre/1/model.py", "imports .ops, but there is no ops.py"),
    "no module of a module": (drop("pre/1/settings.py"), "pre/1/ops.py", "imports .settings"),
    "no module of `from . import`": (
        put("post/1/model.py", model_py("from . import ops")), "post/1/model.py", "imports .ops"),
    "import from outside": (
        put("post/1/model.py", model_py("from ..pre import x")), "post/1/model.py", "outside its folder"),
    "model.py is no Python": (put("post/1/model.py", "class ("), "post/1/model.py", "cannot be read as Python"),
    "a module is no Python": (put("pre/1/ops.py", b"\x00"), "pre/1/ops.py", "cannot be read as Python"),
    "no class": (put("post/1/model.py", "x = 1\n"), "post/1/model.py", "has no class TritonPythonModel"),
    "no settings": (drop("pre/1/spec.json"), "pre/1/spec.json", "settings.py reads this file, which is missing"),
    "settings are no JSON": (put("pre/1/spec.json", "{"), "pre/1/spec.json", "is not valid JSON"),
    "a batch that is fixed": (FIXED, "run/1/model.onnx", "batches need a free first size"),
    "a batch that OpenVINO does not have": (
        lambda repository: (FIXED(repository), IN_OPENVINO(repository)),
        "run/1/model.onnx", "batches need a free first size"),
    "no weights beside the model": (
        lambda repository: put(
            "run/1/manifest.json",
            json.dumps({"artifact": {"sha256": sha256(graph()).hexdigest()}, "parts": [{"name": "w", "sha256": "0"}]}),
        )(repository),
        "run/1/w", "manifest.json names this file, which is missing"),
    "other weights beside the model": (
        lambda repository: (
            put("run/1/w", "weights")(repository),
            put(
                "run/1/manifest.json",
                json.dumps(
                    {"artifact": {"sha256": sha256(graph()).hexdigest()}, "parts": [{"name": "w", "sha256": "0"}]}
                ),
            )(repository),
        ),
        "run/1/w", "which has another sha256"),
    "another artifact": (
        put("run/1/manifest.json", '{"artifact": {"sha256": "00"}}'), "run/1/model.onnx", "which has another sha256"),
    "manifest without a hash": (put("run/1/manifest.json", "{}"), "run/1/manifest.json", "does not state the sha256"),
    "manifest is a list": (put("run/1/manifest.json", "[]"), "run/1/manifest.json", "does not state the sha256"),
    # the ONNX model
    "onnx is corrupt": (put("run/1/model.onnx", b"\x08\x07garbage"), "run/1/model.onnx", "is not an ONNX model"),
    "onnx is empty": (put("run/1/model.onnx", b""), "run/1/model.onnx", "is not an ONNX model"),
    "onnx is cut off": (put("run/1/model.onnx", graph()[:-20]), "run/1/model.onnx", "is not an ONNX model"),
    "onnx is a folder": (
        lambda repository: (drop("run/1/model.onnx")(repository), put("run/1/model.onnx/x", "")(repository)),
        "run/1/model.onnx/model.onnx", "is not an ONNX model"),
    "onnx input name": (
        onnx_file({"y": (TensorProto.FLOAT, ("n", 3, 8, 8))}), "run/1/model.onnx", "has no input 'x' (it has y)"),
    "onnx input not listed": (
        onnx_file({"x": (TensorProto.FLOAT, ("n", 3, 8, 8)), "z": (TensorProto.FLOAT, ("n",))}), "run/1/model.onnx",
        "needs the input 'z'"),
    "onnx input type": (
        onnx_file({"x": (TensorProto.UINT8, ("n", 3, 8, 8))}), "run/1/model.onnx",
        "input 'x' is UINT8, config.pbtxt says FP32"),
    "onnx input dims": (
        onnx_file({"x": (TensorProto.FLOAT, ("n", 3, 8, 9))}), "run/1/model.onnx",
        "has dims [3, 8, 9], config.pbtxt says [3, 8, 8]"),
    "onnx rank": (onnx_file({"x": (TensorProto.FLOAT, ("n", 3, 8))}), "run/1/model.onnx", "has dims [3, 8]"),
    "onnx fixed batch": (
        onnx_file({"x": (TensorProto.FLOAT, (1, 3, 8, 8))}), "run/1/model.onnx", "batches need a free first size"),
    "onnx output name": (
        onnx_file(None, {"out": (TensorProto.FLOAT, ("n", 10, "k"))}), "run/1/model.onnx", "has no output 'raw'"),
    "onnx output type": (
        onnx_file(None, {"raw": (TensorProto.FLOAT16, ("n", 10, "k"))}), "run/1/model.onnx",
        "output 'raw' is FP16, config.pbtxt says FP32"),
    "onnx output dims": (
        onnx_file(None, {"raw": (TensorProto.FLOAT, ("n", 11, "k"))}), "run/1/model.onnx", "has dims [11, -1]"),
    # the ensemble
    "optimization": (
        add("m", "optimization { priority: PRIORITY_MAX }\n"), "m/config.pbtxt", "cannot have optimization"),
    "instance group": (add("m", "instance_group [{ count: 1 }]\n"), "m/config.pbtxt", "cannot have instance_group"),
    "dynamic batching": (add("m", "dynamic_batching {}\n"), "m/config.pbtxt", '"dynamic_batching" is specified along'),
    "dynamic batching without steps": (
        put("m/config.pbtxt", 'name: "m" platform: "ensemble" dynamic_batching {}'), "m/config.pbtxt",
        "cannot have dynamic_batching"),
    "warm-up": (add("m", 'model_warmup { name: "w" }\n'), "m/config.pbtxt", "cannot have model_warmup"),
    "backend": (add("m", 'backend: "python"\n'), "m/config.pbtxt", "an ensemble cannot have a backend"),
    "platform": (edit("m", '"ensemble"', '"onnxruntime_onnx"'), "m/config.pbtxt", "beside ensemble_scheduling"),
    "no step": (
        put("m/config.pbtxt", 'name: "m" platform: "ensemble"'), "m/config.pbtxt", "needs at least one step"),
    "no model name": (edit("m", 'model_name: "run"', ""), "m/config.pbtxt", "step 2 has no model_name"),
    "no input map": (
        edit("m", 'input_map { key: "x" value: "pixels" }', ""), "m/config.pbtxt", "step 2 has no input_map"),
    "no output map": (edit("m", 'output_map { key: "raw" value: "raw" }', ""), "m/config.pbtxt", "2 has no output_map"),
    "no such step": (drop("run"), "m/config.pbtxt", "step 'run' is no model of this repository"),
    "input_map key": (
        edit("m", 'input_map { key: "x"', 'input_map { key: "y"'), "m/config.pbtxt",
        "names 'y', which is no input of run"),
    "output_map key": (
        edit("m", 'output_map { key: "raw"', 'output_map { key: "rar"'), "m/config.pbtxt",
        "names 'rar', which is no output of run"),
    "unmapped input": (
        edit("m", '    input_map { key: "geometry" value: "geometry" }\n', ""), "m/config.pbtxt",
        "input 'geometry' of post gets no tensor"),
    "step version": (edit("m", "model_version: -1", "model_version: 7"), "m/config.pbtxt", "wants version 7"),
    "no step version": (edit("m", "model_version: -1", ""), "m/config.pbtxt", "step pre wants version 0"),
    "batch of a step": (
        edit("pre", "max_batch_size: 4", "max_batch_size: 2"), "m/config.pbtxt",
        "max_batch_size 4 is more than the 2 of step pre"),
    "a step without batches": (
        edit("post", "max_batch_size: 4", "max_batch_size: 0"), "m/config.pbtxt", "input 'geometry' of post is [6]"),
    "an ensemble without batches": (
        edit("m", "max_batch_size: 4", "max_batch_size: 0"), "m/config.pbtxt", "for a batch of 1 only"),
    "produced twice": (
        edit("m", 'key: "geometry" value: "geometry"', 'key: "geometry" value: "pixels"'), "m/config.pbtxt",
        "tensor 'pixels' is produced 2 times"),
    "goes nowhere": (
        edit("m", 'input_map { key: "raw" value: "raw" }', 'input_map { key: "raw" value: "pixels" }'),
        "m/config.pbtxt", "tensor 'raw' goes nowhere"),
    "comes from nowhere": (
        edit("m", 'input_map { key: "raw" value: "raw" }', 'input_map { key: "raw" value: "rar" }'), "m/config.pbtxt",
        "tensor 'rar' is produced by no step"),
    "output from nowhere": (
        edit("m", 'output_map { key: "scores" value: "scores" }', 'output_map { key: "scores" value: "s" }'),
        "m/config.pbtxt", "output 'scores' is produced by no step"),
    "input goes nowhere": (
        add("m", 'input { name: "more" data_type: TYPE_FP32 dims: 1 }\n'), "m/config.pbtxt",
        "input 'more' goes to no step"),
    "steps in a circle": (
        edit("m", 'input_map { key: "x" value: "pixels" }', 'input_map { key: "x" value: "scores" }'),
        "m/config.pbtxt", "or of their own: run, post"),
    "a type between steps": (
        edit("post", "TYPE_FP32", "TYPE_FP64"), "m/config.pbtxt",
        "output 'raw' of run is TYPE_FP32, input 'raw' of post is TYPE_FP64"),
    "dims between steps": (
        edit("post", "dims: [10, -1]", "dims: [11, -1]"), "m/config.pbtxt",
        "output 'raw' of run is [-1, 10, -1], input 'raw' of post is [-1, 11, -1]"),
    "rank between steps": (
        edit("post", "dims: [10, -1]", "dims: [10]"), "m/config.pbtxt", "input 'raw' of post is [-1, 10]"),
    "type of the ensemble's input": (
        edit("m", "TYPE_STRING", "TYPE_UINT8"), "m/config.pbtxt", "input 'image' of m is TYPE_UINT8"),
    "dims of the ensemble's output": (
        edit("m", "dims: [5]", "dims: [6]"), "m/config.pbtxt", "output 'scores' of m is [-1, 6]"),
    "contains itself": (
        edit("m", 'model_name: "run"', 'model_name: "m"'), "m/config.pbtxt", "the ensemble contains itself"),
    "contains itself over another": (
        lambda repository: (
            ensemble_of("outer", "m")(repository),
            edit("m", 'model_name: "run"', 'model_name: "outer"')(repository),
        ),
        "outer/config.pbtxt", "the ensemble contains itself"),
}  # fmt: skip


@pytest.mark.parametrize(("change", "place", "fragment"), ROWS.values(), ids=ROWS.keys())
def test_one_broken_thing_is_told_with_its_place(good: Path, change: Change, place: str, fragment: str) -> None:
    change(good)

    problems = check(good, least=Severity.WARNING)

    lines = [str(problem) for problem in problems]
    assert [each for each in problems if each.path == place and fragment in each.sentence], lines
    assert all(line.endswith(".") and not line.endswith("..") and "\n" not in line for line in lines), lines


#: Rows where the breakage has one consequence: no noise beside the sentence.
ALONE = (
    "other name", "negative count", "no model file", "onnx input dims", "no settings", "no module of a module",
    "another artifact", "an empty version of an ensemble", "batch of a step", "dims between steps",
    "type of the ensemble's input", "no config", "config is no protobuf text", "step version",
)  # fmt: skip


@pytest.mark.parametrize("name", ALONE)
def test_one_broken_thing_is_told_once(good: Path, name: str) -> None:
    ROWS[name][0](good)

    problems = check(good, least=Severity.WARNING)
    told = [each for each in problems if each.rule not in ("step-unknown", "onnx-opset")]

    assert len(told) == 1, [str(problem) for problem in told]


def test_a_broken_config_does_not_hide_the_others(good: Path) -> None:
    for name in ("other name", "no settings", "dims between steps", "an empty version of an ensemble"):
        ROWS[name][0](good)
    put("broken/config.pbtxt", "{")(good)

    assert {problem.model for problem in check(good)} == {"run", "pre", "m", "broken"}


def test_problems_are_sorted_by_model_and_made_of_plain_values(good: Path) -> None:
    for name in ("no settings", "negative count", "warm-up"):
        ROWS[name][0](good)

    problems = check(good)

    assert [problem.model for problem in problems] == sorted(problem.model for problem in problems)
    assert all(isinstance(v, str) for problem in problems for v in vars(problem).values() if v is not problem.line)
    assert json.loads(json.dumps([problem.as_json() for problem in problems]))


def test_a_problem_prints_as_one_line() -> None:
    assert str(Problem("m", "1/model.onnx", "is missing. Add it.")) == "m/1/model.onnx: is missing. Add it."
    assert str(Problem("m", "", "has no version folder.")) == "m: has no version folder."


def test_a_repository_without_models_is_one_problem(tmp_path: Path) -> None:
    (tmp_path / ".gitignore").write_text("")

    (problem,) = check(tmp_path, least=Severity.WARNING)

    assert "holds no model" in str(problem)
    assert str(tmp_path) in str(problem)


def test_a_missing_folder_is_an_input_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such folder"):
        check(tmp_path / "none")


def test_a_file_is_an_input_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(InputError, match="a file, not a folder"):
        check(tmp_path / "file")


def test_external_data_must_be_there(good: Path) -> None:
    """A graph whose weights lie in another file is checked by its signature, and that file by its size alone."""
    model = onnx.load_from_string(graph())
    weights = helper.make_tensor("w", TensorProto.FLOAT, [1], [1.0])
    weights.ClearField("float_data")
    weights.data_location = TensorProto.EXTERNAL
    weights.external_data.add(key="location", value="weights.bin")
    weights.external_data.add(key="length", value="4")
    model.graph.initializer.append(weights)
    drop("run/1/manifest.json")(good)
    put("run/1/model.onnx", model.SerializeToString())(good)

    assert ["not there" in each.sentence for each in check(good)] == [True]
    put("run/1/weights.bin", bytes(3))(good)
    assert ["has 3 bytes of 4" in each.sentence for each in check(good)] == [True]
    put("run/1/weights.bin", bytes(4))(good)
    assert check(good) == []


def test_checking_changes_nothing(good: Path) -> None:
    before = {path: path.read_bytes() for path in good.rglob("*") if path.is_file()}

    check(good)

    assert {path: path.read_bytes() for path in good.rglob("*") if path.is_file()} == before


def test_the_cli_module_imports_nothing_heavy() -> None:
    import ast

    import qtriton.repository.check as module

    heavy = {"onnx", "tritonclient", "google", "numpy", "cv2"}
    for path in Path(module.__file__).parent.glob("*.py"):
        names = {
            name.split(".")[0]
            for node in ast.parse(path.read_text()).body
            if isinstance(node, ast.Import | ast.ImportFrom)
            for name in ([node.module or ""] if isinstance(node, ast.ImportFrom) else [a.name for a in node.names])
        }
        assert names & heavy == set(), path.name
