"""What reading the server's sources, and configs of others, has shown beside the other lists."""

from dataclasses import replace
from typing import Final

from e2e.check_cases.case import PYTHON, Case, X, Y, config, model, one, tensor
from e2e.check_cases.ensembles import FIRST, ensemble, step


def _named(name: str, backend: str, refused: str = "", file: str = "model.py") -> Case:
    """A model by what its config says of platform, backend and file."""
    return Case(name, {"@/config.pbtxt": config(backend=backend), f"@/1/{file}": PYTHON}, refused)


#: What the server fills in by default_model_filename, and what it then finds.
_FILLED: Final = (
    _named("file-beside-a-stranger-platform", 'platform: "own" default_model_filename: "model.py"'),
    _named("stranger-platform", 'platform: "own"', "backend-unknown"),
    _named(
        "file-of-another-platform",
        'platform: "onnxruntime_onnx" default_model_filename: "model.plan"',
        "platform-differs",
        "model.plan",
    ),
    _named("tensorflow-without-platform", 'backend: "tensorflow"', "platform-missing", "saved_model.pb"),
    replace(
        _named("tensorflow-by-its-file", 'backend: "tensorflow"', file="model.graphdef"),
        also=("backend-not-here",),
        judge="read",
    ),
    ensemble("ensemble-file-of-no-backend", extra='default_model_filename: "steps.txt"'),
    ensemble("ensemble-file-of-a-backend", "ensemble-backend", extra='default_model_filename: "model.onnx"'),
)

#: What goes on between ensembles and their steps.
_ENSEMBLES: Final = (
    ensemble(
        "input-made-by-a-step",
        also=("ensemble-input-overwritten",),
        steps=FIRST + step("@_b", {"x": "t"}, {"y": "y", "o": "x"}),
        second=config(outputs=Y + tensor("output", "o")),
    ),
    ensemble("step-lists-output-twice", "step-output-twice", first=config(outputs=Y + Y)),
    ensemble(
        "step-lists-unmapped-output-twice",
        also=("tensor-listed-twice",),
        first=config(outputs=Y + tensor("output", "o") * 2),
    ),
)

_TWO_LABELS: Final = tensor("output", "y", extra='label_filename: "l.txt"')
_GPUS: Final = "instance_group { %s gpus: [ %d ] }"


def _environment(name: str, path: str, refused: str = "", **files: str) -> Case:
    """A python model with an environment of its own in its folder."""
    text = f'parameters {{ key: "EXECUTION_ENV_PATH" value {{ string_value: "$$TRITON_MODEL_DIRECTORY/{path}" }} }}'
    return Case(name, model(config(text), **files), refused)


_FILES: Final = (
    Case("labels-twice", model(config(outputs=_TWO_LABELS * 2)) | {"@/l.txt": "a"}, "label-file-twice"),
    Case(
        "labels-of-two-outputs",
        model(config(outputs=_TWO_LABELS + _TWO_LABELS.replace('"y"', '"z"'))) | {"@/l.txt": "a"},
    ),
    _environment("environment-empty-folder", "env", "environment-folder", env__keep=""),
    _environment("environment-folder", "env", env__bin__activate=""),
    one(
        "strategy-unnamed",
        'parameters { key: "TRITON_BATCH_STRATEGY_PATH" value { string_value: "" } }',
        "batch-strategy-missing",
    ),
    Case("version-of-65-bits", model(config()) | {f"@/{2**63}/model.py": PYTHON}, "version-number", alone=True),
    Case("version-of-64-bits", {"@/config.pbtxt": config(), f"@/{2**63 - 1}/model.py": PYTHON}),
    one("gpu-negative-of-no-kind", _GPUS % ("", -1), "instance-gpu-negative"),
    _named("runtime-in-python", 'backend: "python" runtime: "model.py"', "runtime-python"),
    replace(
        _named("runtime-of-ones-own", 'backend: "python" runtime: "libtriton_python_of_ours.so"'),
        also=("runtime-not-here",),
        judge="read",
    ),
    Case(
        "onnx-of-another-name",
        {
            "@/config.pbtxt": config(backend='backend: "onnxruntime" default_model_filename: "net.bin"'),
            "@/1/net.bin": "no model",
        },
        "onnx-broken",
    ),
)


def _warmup(name: str, inputs: str = "", refused: str = "", batch: int = 4, model_inputs: str = X) -> Case:
    text = f'model_warmup {{ name: "w" batch_size: 1 {inputs} }}'
    return one(name, text, refused, batch=batch, inputs=model_inputs)


_OPTIONAL: Final = tensor("input", "x", "[ -1 ]", extra="optional: true")
_GIVEN: Final = 'inputs { key: "x" value { data_type: TYPE_FP32 dims: [ %d ] zero_data: true } }'
_STATE: Final = (
    'sequence_batching { state { input_name: "si" output_name: "so" data_type: TYPE_FP32 dims: [ %d ] '
    'initial_state { name: "i" data_type: TYPE_FP32 dims: [ %d ] zero_data: true } } }'
)

_REQUESTS: Final = (
    _warmup("warmup-of-nothing", refused="warmup-no-inputs", model_inputs=_OPTIONAL),
    _warmup("warmup-of-nothing-unbatched", batch=0, model_inputs=_OPTIONAL),
    _warmup("warmup-of-no-elements", _GIVEN % 0, model_inputs=_OPTIONAL),
    _warmup("warmup-below-nothing", _GIVEN % -2, "warmup-free", model_inputs=_OPTIONAL),
    replace(one("initial-state-negative", _STATE % (-2, -2), "initial-state"), alone=True),
    one("initial-state-of-no-elements", _STATE % (0, 0)),
)

FIELD: Final = (*_FILLED, *_ENSEMBLES, *_FILES, *_REQUESTS)
