"""Rules of ONNX Runtime's accelerators in `optimization`, as its backend of Triton 24.10 reads them."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from qtriton.repository.check.model import Model
from qtriton.repository.check.parameters import BOOLEAN, NUMBER, may_use_gpu
from qtriton.repository.check.rules import Finding, Rule, error

NAME: Final = error("accelerator-name", "the backend has no execution accelerator {name!r}", "Name one of {names}")
PARAMETER: Final = error(
    "accelerator-parameter", "the accelerator tensorrt has no parameter {name!r}", "Correct it, or remove it"
)
PRECISION: Final = error(
    "accelerator-precision", "precision_mode is {value!r}, which TensorRT does not have", "Name one of FP32, FP16, INT8"
)
VALUE: Final = error("accelerator-value", "the parameter {name} is {value!r}", "Write {expected}")
_GPU: Final = ("tensorrt", "cuda")
_CPU: Final = ("openvino",)
#: What the accelerator tensorrt takes: numbers, booleans, and what ONNX Runtime itself reads.
_NUMBERS: Final = (
    "max_workspace_size_bytes", "trt_max_partition_iterations", "trt_min_subgraph_size", "trt_dla_core",
    "trt_builder_optimization_level", "trt_auxiliary_streams", "trt_ep_context_embed_mode",
)  # fmt: skip
_BOOLEANS: Final = (
    "int8_use_native_calibration_table", "trt_dla_enable", "trt_engine_cache_enable", "trt_dump_subgraphs",
    "trt_force_sequential_engine_build", "trt_context_memory_sharing_enable", "trt_layer_norm_fp32_fallback",
    "trt_timing_cache_enable", "trt_force_timing_cache", "trt_detailed_build_log", "trt_build_heuristics_enable",
    "trt_sparsity_enable", "trt_cuda_graph_enable", "trt_dump_ep_context_model",
)  # fmt: skip
_OTHERS: Final = (
    "precision_mode", "int8_calibration_table_name", "trt_engine_cache_path", "trt_engine_cache_prefix",
    "trt_timing_cache_path", "trt_tactic_sources", "trt_extra_plugin_lib_paths", "trt_profile_min_shapes",
    "trt_profile_max_shapes", "trt_profile_opt_shapes", "trt_ep_context_file_path",
)  # fmt: skip
_PARAMETERS: Final = (*_NUMBERS, *_BOOLEANS, *_OTHERS)
#: What the backend reads of the accelerator cuda; the rest is ONNX Runtime's.
_CUDA_BOOLEANS: Final = ("do_copy_in_default_stream", "use_ep_level_unified_stream")
_AT: Final = ("optimization", "execution_accelerators")


def _accelerators(model: Model, _: Mapping[str, Model]) -> Iterator[Finding]:
    if model.kind != "onnxruntime":
        return
    accelerators = model.config.optimization.execution_accelerators
    if may_use_gpu(model):
        for index, each in enumerate(accelerators.gpu_execution_accelerator):
            yield from _gpu((*_AT, "gpu_execution_accelerator", index), each)
    for index, each in enumerate(accelerators.cpu_execution_accelerator):
        if each.name not in _CPU:
            at = (*_AT, "cpu_execution_accelerator", index, "name")
            yield NAME.found(*at, name=each.name, names=", ".join(_CPU))


def _gpu(at: tuple[str | int, ...], accelerator: Any) -> Iterator[Finding]:
    if accelerator.name not in _GPU:
        yield NAME.found(*at, "name", name=accelerator.name, names=", ".join(_GPU))
    elif accelerator.name == "tensorrt":
        for name, value in sorted(accelerator.parameters.items()):
            if name not in _PARAMETERS:
                yield PARAMETER.found(*at, "parameters", name, name=name)
            elif name == "precision_mode" and value not in ("FP32", "FP16", "INT8"):
                yield PRECISION.found(*at, "parameters", name, value=value)
            elif name in _NUMBERS and not NUMBER.takes(value):
                yield VALUE.found(*at, "parameters", name, name=name, value=value, expected=NUMBER.text)
            elif name in _BOOLEANS and not BOOLEAN.takes(value):
                yield VALUE.found(*at, "parameters", name, name=name, value=value, expected=BOOLEAN.text)
    else:
        for name, value in sorted(accelerator.parameters.items()):
            if name in _CUDA_BOOLEANS and not BOOLEAN.takes(value):
                yield VALUE.found(*at, "parameters", name, name=name, value=value, expected=BOOLEAN.text)


ACCELERATOR_RULES: Final[tuple[Rule, ...]] = (NAME, PARAMETER, PRECISION, VALUE)
ACCELERATOR_CHECKS: Final[tuple[Callable[[Model, Mapping[str, Model]], Iterator[Finding]], ...]] = (_accelerators,)
