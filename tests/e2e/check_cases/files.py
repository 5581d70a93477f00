"""Names, backends, versions, warm-ups, and the files that a config names."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final, TypeAlias

from e2e.check_cases.case import PYTHON, Case, X, config, model, one, tensor
from e2e.check_cases.onnx_files import graph

#: Files by their paths in the model's folder.
Files: TypeAlias = Mapping[str, str | bytes | None]


def _bare(name: str, text: str, refused: str = "", also: tuple[str, ...] = (), files: Files | None = None) -> Case:
    """A config, and files beside it by their paths."""
    paths = {f"@/{each}": content for each, content in (files or {}).items()}
    return Case(name, {"@/config.pbtxt": text, **paths}, refused, also, hangs=refused == "model-file-missing")


def _backend(name: str, backend: str, refused: str = "", files: Files | None = None) -> Case:
    return _bare(name, config(backend=backend), refused, files=files or {"1/model.py": PYTHON})


def _module(name: str, text: str, refused: str = "", also: tuple[str, ...] = (), **files: str | bytes) -> Case:
    """A python model with a model.py of its own, and files beside that."""
    paths = {f"@/1/{each.replace('__', '/', 1)}.py": content for each, content in files.items()}
    return Case(name, model(config()) | {"@/1/model.py": text} | paths, refused, also)


_CLASS: Final = PYTHON.partition("class ")[0]
_BODY: Final = "class TritonPythonModel:" + PYTHON.partition("class TritonPythonModel:")[2]

_FAMILY: Final = 'metric_identifier { family: "nv_inference_first_response_histogram_ms" } '

_STRATEGY: Final = (
    'parameters { key: "TRITON_BATCH_STRATEGY_PATH" value { string_value: "/lib/x86_64-linux-gnu/libm.so.6" } }'
)

NAMES: Final = (
    one("named", 'name: "@"'),
    one("named-otherwise", 'name: "other"', "name-differs"),
    one("unknown-field", "no_such: 1", "config-invalid"),
    one("syntax", "dynamic_batching {", "config-invalid"),
    one("enum-name-unknown", "instance_group { kind: KIND_NO }", "config-invalid"),
    one("value-missing", "dynamic_batching { default_priority_level:\n}", "config-invalid"),
    one("field-twice", "max_batch_size: 4", "config-invalid"),
    one("too-large-number", "default_model_filename: 5", "config-invalid"),
    Case("not-utf8", {**model(config()), "@/config.pbtxt": config().encode() + b'name: "\xff"\n'}, "name-differs"),
    Case("not-utf8-parameter", {**model(config()), "@/config.pbtxt": config().encode() + b'parameters { key: "k" value { string_value: "\xff" } }\n'}, also=("config-not-text",)),
    one("utf8-parameter", 'parameters { key: "k" value { string_value: "é" } }'),
    Case("no-break-space", {**model(config()), "@/config.pbtxt": config().replace(": 4", ":\u00a04")}, "config-invalid"),
    Case("no-break-space-in-a-comment", {**model(config()), "@/config.pbtxt": config() + "# 4\u00a0"}),
    Case("latin-1-comment", {**model(config()), "@/config.pbtxt": b"# caf\xe9\n" + config().encode()}),
    Case("no-config", {"@/1/model.py": PYTHON}, "config-missing"),
    Case("config-is-a-folder", {"@/config.pbtxt": None, "@/1/model.py": PYTHON}, "unreadable", alone=True),
    Case("hidden-folder", {".@/x": "", **model(config())}, "hidden-folder"),
    _bare("empty-config", "", "backend-unknown", ("no-inputs", "no-outputs"), files={"1/x": ""}),
    Case("plain-file-beside", {**model(config()), "@.md": "a note"}),
    Case("dangling-link", {**model(config()), "@_link": Path("nowhere")}, "dangling-link", alone=True),
    Case("dangling-link-in-a-model", {**model(config()), "@/2": Path("nowhere")}, "dangling-link"),
    Case("link-in-a-model", {**model(config()), "@/2": Path("1")}),
    Case("dangling-link-in-a-version", {**model(config()), "@/1/x": Path("nowhere")}),
    Case("link-to-a-model", {**model(config(), "_a"), "@_link": Path("link-to-a-model_a")}),
    Case("empty-repository", {}, "", ("empty-repository",), alone=True),
    Case("is-a-model", {"config.pbtxt": config(), "1/model.py": PYTHON}, "is-a-model", alone=True),
    # what the server of the wheel does not know, or has not got
    one("metrics-too-new", "model_metrics { }", "field-too-new"),
    *(
        Case(f"metrics-{name}", model(config(f"model_metrics {{ metric_control {{ {text} }} }}")), rule, judge="read", server="26.05")
        for name, text, rule in (
            ("whole", _FAMILY + "histogram_options { buckets: [ 1 ] }", ""), ("no-family", "histogram_options { buckets: [ 1 ] }", "model-metrics"),
            ("no-options", _FAMILY, "model-metrics"), ("no-buckets", _FAMILY + "histogram_options { }", "model-metrics"))
    ),
    Case("backend-of-ones-own", {"@/config.pbtxt": config(backend='backend: "mine"'), "@/1/x": ""}, also=("backend-not-here",), judge="read"),
    Case("backend-beside", {"@/config.pbtxt": config(backend='backend: "mine"'), "@/1/x": "", "@/libtriton_mine.so": b"library"}, judge="read"),
    Case("gpu-numbers", model(config("instance_group { kind: KIND_GPU gpus: [ 0 ] }")), also=("instance-gpu-numbers",), judge="read"),
    Case("gpu", model(config("instance_group { kind: KIND_GPU }")), judge="read"),
    one("gpu-negative", "instance_group { kind: KIND_GPU gpus: [ -1 ] }", "instance-gpu-negative"),
    *(
        Case(f"profile-{name}", {"@/config.pbtxt": config(f'instance_group {{ kind: KIND_GPU profile: "{name}" }}', backend='platform: "tensorrt_plan"'), "@/1/model.plan": ""}, rule, judge="read")
        for name, rule in (("0", ""), ("first", "instance-profile"))
    ),
    # backends
    _backend("backend-of-model-py", ""),
    _backend("backend-of-its-file-name", 'default_model_filename: "model.py"'),
    _backend("backend-from-nothing", "", "backend-unknown", files={"1/weights": ""}),
    _backend("backend-from-another-file-name", 'default_model_filename: "net.py"', "backend-unknown", files={"1/net.py": PYTHON}),
    _backend("backend-of-the-first-version", "", files={"1/model.py": PYTHON, "2/model.py": PYTHON}),
    _backend("backend-of-a-folder-that-is-none", "", "backend-unknown", files={"0old/x": "", "1/model.py": PYTHON}),
    _backend("platform-unknown", 'platform: "onnxruntime"', "backend-unknown"),
    _backend("platform-python", 'platform: "python"', "backend-unknown"),
    _backend("platform-beside-python", 'platform: "pytorch_libtorch" backend: "python"'),
    _backend("platform-of-ones-own", 'platform: "mine" backend: "python"'),
    _backend("platform-of-another", 'platform: "tensorrt_plan" backend: "onnxruntime"', "platform-differs"),
    _backend("platform-unknown-beside-known", 'platform: "mine" backend: "onnxruntime"', "platform-differs"),
    _backend("runtime", 'backend: "python" runtime: "libtriton_python.so"'),
    _backend("runtime-outside", 'backend: "python" runtime: "../x/lib.so"', "runtime-outside"),
    # versions
    _backend("version-empty", 'backend: "python"', "model-file-missing", files={"1": None}),
    _backend("no-versions", 'backend: "python"', "no-version", files={"x": ""}),
    _backend("no-version-is-a-number", 'backend: "python"', "no-version", files={"one/model.py": PYTHON}),
    _backend("version-01", 'backend: "python"', "no-version", files={"01/model.py": PYTHON}),
    _backend("version-0", 'backend: "python"', files={"0/model.py": PYTHON}),
    _backend("version-1-and-a-word", 'backend: "python"', "model-file-missing", files={"1a/model.py": PYTHON}),
    _backend("version-2-only", 'backend: "python"', files={"2/model.py": PYTHON}),
    replace(_backend("version-negative", 'backend: "python"', "no-version", files={"-1/model.py": PYTHON}), hangs=True),
    _backend("old-version-broken", 'backend: "python"', files={"1/x": "", "2/model.py": PYTHON}),
    _backend("all-with-one-broken", 'backend: "python" version_policy { all { } }', "model-file-missing", files={"1/x": "", "2/model.py": PYTHON}),
    _backend("latest-two", 'backend: "python" version_policy { latest { num_versions: 2 } }', files={"1/model.py": PYTHON, "2/model.py": PYTHON}),
    _backend("latest-three-of-two", 'backend: "python" version_policy { latest { num_versions: 3 } }', files={"1/model.py": PYTHON, "2/model.py": PYTHON}),
    one("latest-none", "version_policy { latest { } }", "version-policy-empty"),
    one("specific-none", "version_policy { specific { } }", "version-policy-empty"),
    one("specific-only-missing", "version_policy { specific { versions: [ 7 ] } }", "version-policy-empty", ("version-missing",)),
    one("specific", "version_policy { specific { versions: [ 1 ] } }"),
    one("specific-and-missing", "version_policy { specific { versions: [ 1, 7 ] } }", also=("version-missing",)),
    one("policy-all", "version_policy { all { } }"),
    one("policy-that-says-nothing", "version_policy { }"),
    # files
    Case("other-file-name", {"@/config.pbtxt": config('default_model_filename: "net.py"'), "@/1/net.py": PYTHON}),
    Case("other-file-name-missing", {"@/config.pbtxt": config('default_model_filename: "net.py"'), "@/1/model.py": PYTHON}, "model-file-missing", hangs=True),
    # A python model's file is imported as the module of a package.
    *(
        Case(f"file-{name}", {"@/config.pbtxt": config(f'default_model_filename: "{file}"'), f"@/{path}": PYTHON, "@/1/x": ""}, rule)
        for name, file, path, rule in (
            ("outside", "../model.py", "model.py", "python-file-name"), ("in-another-version", "../2/model.py", "2/model.py", ""),
            ("here", "./model.py", "1/model.py", "python-file-name"), ("in-a-folder", "a/model.py", "1/a/model.py", ""),
            ("in-a-folder-with-a-dot", "a.b/model.py", "1/a.b/model.py", "python-file-name"), ("with-a-dash", "my-model.py", "1/my-model.py", ""),
            ("with-a-dot", "my.model.py", "1/my.model.py", "python-file-name"), ("without-py", "model", "1/model", "python-file-name"))
    ),
    Case("file-outside-of-onnx", {"@/config.pbtxt": config('default_model_filename: "../model.onnx"', backend='platform: "onnxruntime_onnx"'), "@/model.onnx": graph(), "@/1/x": ""}),
    Case("labels", model(config(outputs=tensor("output", "y", extra='label_filename: "labels.txt"'))) | {"@/labels.txt": "a\nb\n"}),
    Case("labels-missing", model(config(outputs=tensor("output", "y", extra='label_filename: "labels.txt"'))), "label-file-missing"),
    Case("labels-of-a-long-name", model(config(outputs=tensor("output", "y", extra=f'label_filename: "{"a" * 300}"'))), "unreadable"),
    Case("labels-in-the-version", model(config(outputs=tensor("output", "y", extra='label_filename: "labels.txt"'))) | {"@/1/labels.txt": "a\n"}, "label-file-missing"),
    Case("labels-outside", model(config(outputs=tensor("output", "y", extra='label_filename: "../@_a/labels.txt"'))) | model(config(), "_a") | {"@_a/labels.txt": "a\n"}),
    Case("environment-missing", model(config('parameters { key: "EXECUTION_ENV_PATH" value { string_value: "/no/such.tar.gz" } }')), "environment-missing"),
    Case("environment-missing-beside", model(config('parameters { key: "EXECUTION_ENV_PATH" value { string_value: "$$TRITON_MODEL_DIRECTORY/e" } }')), "environment-missing"),
    Case("environment", model(config('parameters { key: "EXECUTION_ENV_PATH" value { string_value: "$$TRITON_MODEL_DIRECTORY/e" } }'), e__bin__activate="")),
    *(
        one(f"cpu-only-{name}", f'parameters {{ key: "FORCE_CPU_ONLY_INPUT_TENSORS" value {{ string_value: "{value}" }} }}', rule)
        for name, value, rule in (("yes", "yes", ""), ("no", "no", ""), ("true", "true", "force-cpu-only"), ("capital", "YES", "force-cpu-only"))
    ),
    one("batch-strategy-missing", 'parameters { key: "TRITON_BATCH_STRATEGY_PATH" value { string_value: "/no/such.so" } }', "batch-strategy-missing"),
    # Any library will do: what it lacks is done as always.
    one("batch-strategy", _STRATEGY),
    one("batch-strategy-sequence", f"sequence_batching {{ }} {_STRATEGY}", "batch-strategy-sequence"),
    # The server has agents of its own: where one of this name is installed, it loads.
    Case("repo-agent", model(config('model_repository_agents { agents { name: "no_such" } }')), "", ("repository-agent",), judge="read"),
    # python modules
    _module("no-class", _CLASS + "x = 1\n", "python-class"),
    _module("syntax-error", f"{PYTHON}class (", "python-syntax"),
    _module("class-in-if", f"{_CLASS}if True:\n" + "".join(f"    {line}\n" for line in _BODY.splitlines())),
    _module("class-in-try", f"{_CLASS}try:\n" + "".join(f"    {line}\n" for line in _BODY.splitlines()) + "except ImportError:\n    pass\n"),
    _module("class-annotated", f"{_CLASS}{_BODY.replace('TritonPythonModel', 'Mine')}\nTritonPythonModel: type = Mine\n"),
    _module("class-assigned", f"{_CLASS}{_BODY.replace('TritonPythonModel', 'Mine')}\nTritonPythonModel = Mine\n"),
    _module("class-imported", "from .impl import TritonPythonModel\n", impl=PYTHON),
    _module("class-from-star", "from .impl import *\n", impl=PYTHON),
    _module("import-missing", f"from .impl import f\n{PYTHON}", "python-import"),
    _module("import-beside", f"from .impl import f\n{PYTHON}", impl="f = 1\n"),
    _module("import-with-fallback", f"try:\n    from .impl import f\nexcept ImportError:\n    f = None\n{PYTHON}"),
    _module("import-in-a-function", f"{PYTHON}\n    def later(self):\n        from .impl import f\n", "", ("python-import-later",)),
    _module("import-in-a-function-beside", f"{PYTHON}\n    def later(self):\n        from .impl import f\n", impl="f = 1\n"),
    _module("import-for-types", f"from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from .impl import f\n{PYTHON}"),
    _module("import-outside", f"from ..other import f\n{PYTHON}", "python-import"),
    _module("import-package", f"from .lib import f\n{PYTHON}", lib____init__="from .a import f\n", lib__a="f = 1\n"),
    Case("latin-1-in-a-comment", model(config()) | {"@/1/model.py": b"# caf\xe9\n" + PYTHON.encode()}),
    Case("latin-1-declared", model(config()) | {"@/1/model.py": b"# -*- coding: latin-1 -*-\n# caf\xe9\n" + PYTHON.encode()}),
    Case("latin-1-in-a-module", model(config()) | {"@/1/model.py": f"from .impl import f\n{PYTHON}", "@/1/impl.py": b"# caf\xe9\nf = 1\n"}),
    Case("name-for-a-shell", {path.replace("@", "@(1)"): text for path, text in model(config()).items()}, "python-name", hangs=True),
    Case("name-with-a-dot", {path.replace("@", "@.v1"): text for path, text in model(config()).items()}),
)  # fmt: skip


def _warm(
    name: str,
    text: str,
    refused: str = "",
    also: tuple[str, ...] = (),
    batch: int = 4,
    inputs: str = X,
    extra: str = "",
) -> Case:
    return one(name, f'model_warmup {{ name: "w" {text} }} {extra}', refused, also, batch, inputs)


def _given(text: str, name: str = "x") -> str:
    return f'inputs {{ key: "{name}" value {{ {text} }} }}'


_ZERO: Final = _given("data_type: TYPE_FP32 dims: [ 3 ] zero_data: true")
_FILE: Final = _given('data_type: TYPE_FP32 dims: [ 3 ] input_data_file: "x.bin"')
_START: Final = 'sequence_batching { control_input { name: "S" control { kind: CONTROL_SEQUENCE_START fp32_false_true: [ 0, 1 ] } } }'
WARMUPS: Final = (
    _warm("warmup", f"batch_size: 1 {_ZERO}"),
    _warm("warmup-random", f"batch_size: 4 {_given('data_type: TYPE_FP32 dims: [ 3 ] random_data: true')}"),
    _warm("warmup-batch-zero", f"batch_size: 0 {_ZERO}"),
    _warm("warmup-batch-zero-of-nothing", "batch_size: 0"),
    _warm("warmup-unbatched", f"batch_size: 1 {_ZERO}", batch=0),
    _warm("warmup-batch-large", f"batch_size: 5 {_ZERO}", "warmup-batch"),
    _warm("warmup-input-missing", "batch_size: 1", "warmup-input-missing"),
    _warm("warmup-optional-missing", f"batch_size: 1 {_ZERO}", inputs=X + tensor("input", "z", extra="optional: true")),
    _warm("warmup-input-unknown", f"batch_size: 1 {_ZERO} {_given('data_type: TYPE_FP32 dims: [ 3 ] zero_data: true', 'z')}", also=("warmup-input-unknown",)),
    _warm("warmup-control", f"batch_size: 1 {_ZERO} {_given('data_type: TYPE_FP32 dims: [ 1 ] zero_data: true', 'S')}", extra=_START),
    _warm("warmup-type", f"batch_size: 1 {_given('data_type: TYPE_INT32 dims: [ 3 ] zero_data: true')}", "warmup-type"),
    _warm("warmup-dims", f"batch_size: 1 {_given('data_type: TYPE_FP32 dims: [ 4 ] zero_data: true')}", "warmup-dims"),
    _warm("warmup-free", f"batch_size: 1 {_given('data_type: TYPE_FP32 dims: [ -1 ] zero_data: true')}", "warmup-free"),
    _warm("warmup-of-free", f"batch_size: 1 {_ZERO}", inputs=tensor("input", "x", "[ -1 ]")),
    _warm("warmup-no-data", f"batch_size: 1 {_given('data_type: TYPE_FP32 dims: [ 3 ]')}", "warmup-no-data"),
    _warm("warmup-file-missing", f"batch_size: 1 {_FILE}", "data-file-missing"),
    Case("warmup-file", model(config(f'model_warmup {{ name: "w" batch_size: 1 {_FILE} }}')) | {"@/warmup/x.bin": bytes(12)}),
    Case("warmup-file-short", model(config(f'model_warmup {{ name: "w" batch_size: 1 {_FILE} }}')) | {"@/warmup/x.bin": bytes(11)}, "data-file-short"),
    Case("warmup-file-long", model(config(f'model_warmup {{ name: "w" batch_size: 1 {_FILE} }}')) | {"@/warmup/x.bin": bytes(99)}),
)  # fmt: skip
FILES: Final = (*NAMES, *WARMUPS)
