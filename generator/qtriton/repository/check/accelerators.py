"""Rules of ONNX Runtime's accelerators in `optimization`, as its backend of Triton 24.10 reads them."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from qtriton.repository.check.model import Model, enum_name
from qtriton.repository.check.rules import Finding, Rule, error

NAME: Final = error("accelerator-name", "the backend has no execution accelerator {name!r}", "Name one of {names}")
PARAMETER: Final = error(
    "accelerator-parameter", "the accelerator tensorrt has no parameter {name!r}", "Correct it, or remove it"
)
PRECISION: Final = error(
    "accelerator-precision", "precision_mode is {value!r}, which TensorRT does not have", "Name one of FP32, FP16, INT8"
)
_GPU: Final = ("tensorrt", "cuda")
_CPU: Final = ("openvino",)
#: What the accelerator tensorrt takes.
_PARAMETERS: Final = (
    "precision_mode", "max_workspace_size_bytes", "int8_calibration_table_name",
    "int8_use_native_calibration_table", "trt_max_partition_iterations", "trt_min_subgraph_size", "trt_dla_enable",
    "trt_dla_core", "trt_engine_cache_enable", "trt_engine_cache_path", "trt_engine_cache_prefix",
    "trt_dump_subgraphs", "trt_force_sequential_engine_build", "trt_context_memory_sharing_enable",
    "trt_layer_norm_fp32_fallback", "trt_timing_cache_enable", "trt_timing_cache_path", "trt_force_timing_cache",
    "trt_detailed_build_log", "trt_build_heuristics_enable", "trt_sparsity_enable",
    "trt_builder_optimization_level", "trt_auxiliary_streams", "trt_tactic_sources", "trt_extra_plugin_lib_paths",
    "trt_profile_min_shapes", "trt_profile_max_shapes", "trt_profile_opt_shapes", "trt_cuda_graph_enable",
    "trt_dump_ep_context_model", "trt_ep_context_file_path", "trt_ep_context_embed_mode",
)  # fmt: skip
_AT: Final = ("optimization", "execution_accelerators")


def _accelerators(model: Model, _: Mapping[str, Model]) -> Iterator[Finding]:
    if model.kind != "onnxruntime":
        return
    accelerators = model.config.optimization.execution_accelerators
    # The backend reads those of the GPU for instances that may run there.
    if any(enum_name(group, "kind") in ("KIND_GPU", "KIND_AUTO") for group in model.config.instance_group) or (
        not model.config.instance_group
    ):
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


ACCELERATOR_RULES: Final[tuple[Rule, ...]] = (NAME, PARAMETER, PRECISION)
ACCELERATOR_CHECKS: Final[tuple[Callable[[Model, Mapping[str, Model]], Iterator[Finding]], ...]] = (_accelerators,)
