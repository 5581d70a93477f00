"""Builds an engine from a typed ONNX with the TensorRT of this machine, whatever version that is.

What a version offers is looked up in the module: TensorRT 11 has neither precision flags nor calibrators, 10 has both
and strong typing, 8 has the flags only.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from qtriton.backends.tensorrt import FLAGGED, TYPED
from qtriton.backends.tensorrt.recipe import EngineRecipe
from qtriton.errors import CompressionError, SetupError

#: What to do where TensorRT cannot build an engine of a model.
WAYS_OUT: Final = "Try another --precision, or --backend onnxruntime."


@dataclass(frozen=True)
class Plan:
    """A serialized engine, the timings that chose its kernels, and how long it took."""

    data: bytes
    timings: bytes
    seconds: float


def source_of(trt: Any, recipe: EngineRecipe) -> str:
    """The ONNX that this TensorRT builds a recipe's engine from."""
    return TYPED if is_strongly_typed(trt) or not recipe.precision.half else FLAGGED


def is_strongly_typed(trt: Any) -> bool:
    """Whether the types of the graph decide, not flags; from TensorRT 10 on, and in 11 there is nothing else."""
    return hasattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED") or not hasattr(trt.BuilderFlag, "FP16")


def build_plan(trt: Any, folder: Path, recipe: EngineRecipe, timings: bytes = b"") -> Plan:
    """Build the engine of the ONNX in a folder on the GPU of this machine.

    Args:
        trt: the module tensorrt.
        folder: holds the ONNX.
        recipe: shapes, workspace, level.
        timings: what an earlier build returned; the kernels in it are not timed again.

    Raises:
        SetupError: TensorRT does not start; the message quotes it.
        CompressionError: TensorRT cannot read the model or build it; the message quotes it.
    """
    started = time.monotonic()
    path, title = folder / source_of(trt, recipe), f"TensorRT {trt.__version__}"
    logger = logger_class(trt)()
    trt.init_libnvinfer_plugins(logger, "")
    builder = start_builder(trt, logger, title)
    network = read_network(trt, builder, path, logger, title)
    config = builder_config(trt, builder, recipe)
    cache = config.create_timing_cache(timings)
    config.set_timing_cache(cache, False)
    data = serialize(builder, network, config, path, logger, title)
    return Plan(data, bytes(config.get_timing_cache().serialize()), time.monotonic() - started)


def start_builder(trt: Any, logger: Any, title: str) -> Any:
    """A builder that uses every core.

    Args:
        trt: the module tensorrt, or tensorrt_rtx_bindings.
        logger: of `logger_class`.
        title: what the module is called in messages.

    Raises:
        SetupError: it does not start; the message quotes it.
    """
    try:
        builder = trt.Builder(logger)
    except TypeError as error:  # the binding was given a null pointer
        reason = logger.last or str(error)
        raise SetupError(
            f"{title} does not start on this machine ({reason}). Install the TensorRT that fits its driver and GPU, or "
            "run this in Triton's image."
        ) from error
    builder.max_threads = len(os.sched_getaffinity(0))  # one by default, and much of the work is compiling
    return builder


def read_network(trt: Any, builder: Any, path: Path, logger: Any, title: str) -> Any:
    """The network of an ONNX file.

    Raises:
        CompressionError: the parser cannot read it; the message quotes it.
    """
    network = builder.create_network(_network_flags(trt))
    parser = trt.OnnxParser(network, logger)
    if not parser.parse_from_file(str(path)):
        reasons = "; ".join(str(parser.get_error(index)) for index in range(parser.num_errors))
        raise CompressionError(f"{path}: {title} cannot read it ({reasons or logger.last}). {WAYS_OUT}")
    return network


def serialize(builder: Any, network: Any, config: Any, path: Path, logger: Any, title: str) -> bytes:
    """The engine of a network.

    Raises:
        CompressionError: TensorRT builds none; the message quotes it.
    """
    data = builder.build_serialized_network(network, config)
    if data is None:
        reason = logger.last or "it does not say why"
        raise CompressionError(f"{path}: {title} built no engine ({reason}). {WAYS_OUT}")
    return bytes(data)


def logger_class(trt: Any) -> Any:
    """A class of loggers that keep the last error."""

    class Logger(trt.ILogger):  # type: ignore[misc]
        """Keeps the last error for the message of an exception."""

        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.last = ""

        def log(self, severity: Any, message: str) -> None:
            if severity in (trt.ILogger.Severity.ERROR, trt.ILogger.Severity.INTERNAL_ERROR):
                self.last = message.strip()

    return Logger


def _network_flags(trt: Any) -> int:
    flag = trt.NetworkDefinitionCreationFlag
    if is_strongly_typed(trt) and not hasattr(flag, "STRONGLY_TYPED"):
        return 0  # where nothing else exists, the name may go, too; up to 11.4 it is there
    # TensorRT 10 always has an explicit batch and 11 has dropped the name.
    name = "STRONGLY_TYPED" if is_strongly_typed(trt) else "EXPLICIT_BATCH"
    return 1 << int(getattr(flag, name))


def builder_config(trt: Any, builder: Any, recipe: EngineRecipe) -> Any:
    """What a recipe asks for, in the words of this TensorRT."""
    config = builder.create_builder_config()
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, recipe.workspace_mib << 20)
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    if hasattr(config, "builder_optimization_level"):  # from 8.6 on
        config.builder_optimization_level = recipe.optimization_level
    if not is_strongly_typed(trt):
        flags: Mapping[str, bool] = {"INT8": recipe.precision.quantized, "FP16": recipe.precision.half}
        for name, enabled in flags.items():
            if enabled:
                config.set_flag(getattr(trt.BuilderFlag, name))
    if recipe.profiles:
        profile = builder.create_optimization_profile()
        for name, shapes in recipe.profiles.items():
            profile.set_shape(name, shapes.least, shapes.best, shapes.most)
        config.add_optimization_profile(profile)
    return config
