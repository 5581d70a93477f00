"""A repository as qtriton renders it, and the same with one thing changed: by others, by hand, or by half a copy."""

import json
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Final

from onnx import TensorProto, helper

from e2e.check_cases.case import Case
from qtriton import resources
from qtriton.repository.steps import POSTPROCESS, PREPROCESS, shared_modules

#: The golden files: configs and settings, without code and weights.
_GOLDEN: Final = Path(__file__).resolve().parents[2] / "golden" / "expected" / "mobilenet_v1"
_MODEL: Final = "mobilenet_v1_"
_ENSEMBLE, _PREPROCESS, _RUNTIME, _POSTPROCESS = (
    "onnxruntime_fp32", "preprocess_pixels", "onnxruntime_fp32_runtime", "postprocess",
)  # fmt: skip


def _network() -> bytes:
    """Pixels in, a score for each of 1000 classes out; it has no weights to speak of."""
    nodes = [
        helper.make_node("Cast", ["data"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["floats"], ["means"], axes=[1, 2], keepdims=0),
        helper.make_node("MatMul", ["means", "weights"], ["prob"]),
    ]
    pixels = helper.make_tensor_value_info("data", TensorProto.UINT8, ["batch", 224, 224, 3])
    scores = helper.make_tensor_value_info("prob", TensorProto.FLOAT, ["batch", 1000])
    weights = helper.make_tensor("weights", TensorProto.FLOAT, [3, 1000], bytes(12000), raw=True)
    made = helper.make_graph(nodes, "g", [pixels], [scores], [weights])
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    data: bytes = model.SerializeToString()
    return data


def _step(name: str, module: str) -> dict[str, str | bytes]:
    """A step with its settings and the code that is copied beside them."""
    code = {"model.py": module, **{each: each for each in shared_modules()}}
    settings = (_GOLDEN / f"{_MODEL}{name}" / "1" / "spec.json").read_text(encoding="utf-8")
    return {f"1/{each}": (resources.runtime() / of).read_bytes() for each, of in code.items()} | {
        "1/spec.json": settings
    }


def _repository() -> dict[str, str | bytes]:
    network = _network()
    artifact = {"name": "model.onnx", "sha256": sha256(network).hexdigest()}
    inside: Mapping[str, Mapping[str, str | bytes]] = {
        _ENSEMBLE: {"1/build.json": "{}"}, _PREPROCESS: _step(_PREPROCESS, PREPROCESS), _RUNTIME: {"1/model.onnx": network, "1/manifest.json": json.dumps({"artifact": artifact})},
        _POSTPROCESS: _step(_POSTPROCESS, POSTPROCESS),
    }  # fmt: skip
    files: dict[str, str | bytes] = {}
    for name, contents in inside.items():
        config = (_GOLDEN / f"{_MODEL}{name}" / "config.pbtxt").read_text(encoding="utf-8")
        files[f"@_{name}/config.pbtxt"] = config.replace(_MODEL, "@_")
        files |= {f"@_{name}/{path}": content for path, content in contents.items()}
    return files


_FILES: Final = _repository()


def _changed(name: str, model: str, old: str, new: str, refused: str = "", also: tuple[str, ...] = ()) -> Case:
    """With the first of a text in a model's config replaced."""
    path = f"@_{model}/config.pbtxt"
    text = _FILES[path]
    assert isinstance(text, str) and old in text, f"{name}: {old!r} is not in {path}"
    return Case(f"rendered-{name}", _FILES | {path: text.replace(old, new, 1)}, refused, also)


def _without(name: str, path: str, refused: str) -> Case:
    """Without a file, or without all that begins with a path."""
    kept = {each: content for each, content in _FILES.items() if not each.startswith(path)}
    assert len(kept) < len(_FILES), f"{name}: there is no {path}"
    return Case(f"rendered-{name}", kept, refused)


RENDERED: Final = (
    Case("rendered", _FILES),
    # the runtime's step
    _changed("input-dims", _RUNTIME, "224, 224, 3", "3, 224, 224", "file-dims"),
    _changed("output-dims", _RUNTIME, "[1000]", "[1001]", "file-dims"),
    _changed("input-type", _RUNTIME, "TYPE_UINT8", "TYPE_FP32", "file-type"),
    _changed("runtime-batch-0", _RUNTIME, "max_batch_size: 8", "max_batch_size: 0", "file-dims"),
    _changed("runtime-batch-4", _RUNTIME, "max_batch_size: 8", "max_batch_size: 4", "step-batch"),
    _changed("runtime-batch-16", _RUNTIME, "max_batch_size: 8", "max_batch_size: 16"),
    _changed("warmup-type", _RUNTIME, "{ data_type: TYPE_UINT8", "{ data_type: TYPE_FP32", "warmup-type"),
    _changed("no-platform", _RUNTIME, 'platform: "onnxruntime_onnx"\n', ""),
    _changed("name-of-another", _RUNTIME, "fp32_runtime", "int8_runtime", "name-differs"),
    _without("no-weights", f"@_{_RUNTIME}/1/model.onnx", "model-file-missing"),
    # the steps around it
    _changed("step-output-dims", _POSTPROCESS, "dims: [5]", "dims: [6]", "tensor-shapes-differ"),
    _changed("step-output-free", _POSTPROCESS, "dims: [5]", "dims: [-1]"),
    _changed("step-type", _PREPROCESS, "TYPE_FP32", "TYPE_FP64", "tensor-types-differ"),
    _changed("step-batch-0", _PREPROCESS, "max_batch_size: 8", "max_batch_size: 0", also=("batch-one-only",)),
    _without("no-step", f"@_{_PREPROCESS}/", "step-unknown"),
    _without("no-settings", f"@_{_PREPROCESS}/1/spec.json", "step-settings"),
    _without("no-module", f"@_{_POSTPROCESS}/1/values.py", "python-import"),
    # the ensemble
    _changed("map-key", _ENSEMBLE, 'key: "prob"', 'key: "probs"', "map-key-unknown"),
    _changed("map-value", _ENSEMBLE, 'value: "raw_prob"', 'value: "raw"', "tensor-unconnected"),
    _changed("map-missing", _ENSEMBLE, '    input_map { key: "geometry" value: "geometry" }\n', "", "input-unmapped"),
    _changed("ensemble-batch-0", _ENSEMBLE, "max_batch_size: 8", "max_batch_size: 0", also=("batch-one-only",)),
    _changed("ensemble-batch-16", _ENSEMBLE, "max_batch_size: 8", "max_batch_size: 16", "step-batch"),
    _changed("ensemble-batch-1", _ENSEMBLE, "max_batch_size: 8", "max_batch_size: 1"),
    _changed("ensemble-output-dims", _ENSEMBLE, "dims: [5]", "dims: [4]", "tensor-shapes-differ"),
    _changed("step-version", _ENSEMBLE, "model_version: -1", "model_version: 2", "step-version"),
    _without("no-version", f"@_{_ENSEMBLE}/1/", "no-version"),
)
