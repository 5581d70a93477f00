"""Values of parameters and of accelerators: what the python-based backends judge alike is run, the rest was read."""

from pathlib import Path
from typing import Final

from e2e.check_cases.case import Case, config
from e2e.check_cases.onnx_files import graph

_ORT: Final = 'platform: "onnxruntime_onnx"'
_CPU: Final = "instance_group { kind: KIND_CPU }"


def _onnx(name: str, extra: str, refused: str = "") -> Case:
    files: dict[str, str | bytes | Path | None] = {
        "@/config.pbtxt": config(extra, backend=_ORT),
        "@/1/model.onnx": graph(),
    }
    return Case(f"parameter-{name}", files, refused, judge="read")


def _run(name: str, key: str, value: str, refused: str = "") -> Case:
    case = _onnx(name, _parameter(key, value), refused)
    return Case(case.name, case.files, case.refused)


def _openvino(name: str, key: str, value: str, refused: str = "") -> Case:
    files: dict[str, str | bytes | Path | None] = {"@/config.pbtxt": config(_parameter(key, value) + 'default_model_filename: "model.onnx"', backend='backend: "openvino"'), "@/1/model.onnx": graph()}  # fmt: skip
    return Case(f"parameter-openvino-{name}", files, refused, judge="read")


def _parameter(key: str, value: str) -> str:
    return f'parameters {{ key: "{key}" value {{ string_value: "{value}" }} }}\n'


def _accelerator(name: str, key: str, value: str, refused: str = "", which: str = "tensorrt") -> Case:
    text = f'gpu_execution_accelerator {{ name: "{which}" parameters {{ key: "{key}" value: "{value}" }} }}'
    return _onnx(f"of-{name}", f"optimization {{ execution_accelerators {{ {text} }} }}", refused)


PARAMETERS: Final = (
    _run("threads", "intra_op_thread_count", "2"),
    _run("threads-word", "intra_op_thread_count", "two", "parameter-value"),
    _run("threads-between-word", "inter_op_thread_count", "many", "parameter-value"),
    _run("mode", "execution_mode", "1"),
    _run("mode-word", "execution_mode", "parallel", "parameter-value"),
    _onnx("mode-two", _parameter("execution_mode", "2"), "parameter-value"),
    _onnx("number-with-rest", _parameter("intra_op_thread_count", " 4 threads")),
    _run("arena", "enable_mem_arena", "TRUE"),
    _onnx("arena-word", _parameter("enable_mem_arena", "yes"), "parameter-value"),
    _run("pattern", "enable_mem_pattern", "0"),
    _onnx("pattern-number", _parameter("enable_mem_pattern", "2"), "parameter-value"),
    _onnx("algorithm", _parameter("cudnn_conv_algo_search", "2")),
    _onnx("algorithm-high", _parameter("cudnn_conv_algo_search", "3"), "parameter-value"),
    _onnx("algorithm-on-the-cpu", _parameter("cudnn_conv_algo_search", "3") + _CPU),
    _onnx("strategy", _parameter("arena_extend_strategy", "1")),
    _onnx("strategy-word", _parameter("arena_extend_strategy", "kSameAsRequested"), "parameter-value"),
    _run("of-ones-own", "my_setting", "anything"),
    _openvino("threads", "INFERENCE_NUM_THREADS", "2"),
    _openvino("threads-negative", "INFERENCE_NUM_THREADS", "-1", "parameter-value"),
    _openvino("streams", "NUM_STREAMS", "auto"),
    _openvino("streams-word", "NUM_STREAMS", "many", "parameter-value"),
    _openvino("bf16", "HINT_BF16", "Yes"),
    _openvino("bf16-no", "HINT_BF16", "NO", "parameter-value"),
    _openvino("hint", "PERFORMANCE_HINT", "THROUGHPUT"),
    _openvino("hint-word", "PERFORMANCE_HINT", "fast", "parameter-value"),
    _openvino("empty", "PERFORMANCE_HINT", ""),
    _accelerator("tensorrt-number", "max_workspace_size_bytes", "1073741824"),
    _accelerator("tensorrt-number-word", "max_workspace_size_bytes", "a lot", "accelerator-value"),
    _accelerator("tensorrt-boolean", "trt_engine_cache_enable", "True"),
    _accelerator("tensorrt-boolean-word", "trt_engine_cache_enable", "yes", "accelerator-value"),
    _accelerator("cuda-boolean", "do_copy_in_default_stream", "1", which="cuda"),
    _accelerator("cuda-boolean-word", "do_copy_in_default_stream", "never", "accelerator-value", which="cuda"),
)
