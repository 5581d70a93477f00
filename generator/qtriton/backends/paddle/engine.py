"""Runs a Paddle inference model on a CPU or TensorRT; copied into Triton's backend, so it must not import qtriton."""

import ctypes
import hashlib
import os
import re
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
TensorInfo = tuple[str, str, list[int]]
Layer = tuple[str, str, str, list[int]]

#: What Triton's own backend opens where default_model_filename is not set.
DEFAULT_FILE = "model.pdmodel"

DATATYPES = {
    "bool": "BOOL",
    "uint8": "UINT8",
    "int8": "INT8",
    "int32": "INT32",
    "int64": "INT64",
    "float16": "FP16",
    "float32": "FP32",
    "float64": "FP64",
}
#: What runs in integers. With Paddle's own choice, which is everything, a pass of 2.6.2 refuses yolov5n ("the operator
#: after requantize should have input scale equal to requantize output scale").
INTEGER_OPS = frozenset({"conv2d", "depthwise_conv2d", "fused_conv2d"})
#: What oneDNN of 2.6.2 computes far slower in floats than Paddle itself: CGNet takes 1330 ms with its prelu in it, 200
#: without.
SLOW_OPS = frozenset({"prelu"})
#: Passes of 2.6.2 that crash at a Concat with a constant, and that make NaN of an Add before a Clip (hard swish).
WRONG_PASSES = ("seqpool_cvm_concat_fuse_pass", "elementwise_act_onednn_fuse_pass")
#: Runs before those that are timed layer by layer.
WARM_UP = 5
#: What oneDNN calls the types of tensors.
TRACED = {"s8": "INT8", "u8": "INT8", "f32": "FP32", "f16": "FP16", "bf16": "BF16"}


#: What Paddle takes of the GPU at once, and what a layer of TensorRT may take for scratch, in bytes.
GPU_MEMORY_MB = 256
WORKSPACE = 1 << 30


class Engine:
    """A predictor with oneDNN, or with TensorRT on the first GPU."""

    def __init__(self, path: str, config: dict[str, Any]) -> None:
        """Take the parameters cpu_threads, and int8: "true" for a model that ACT quantized.

        tensorrt: FP32, FP16 or INT8 (which lets FP16 in) runs it on the GPU; engines are kept in tensorrt_cache.
        """
        # Imported behind Paddle, these crash the process; other packages may import them later.
        import scipy  # noqa: F401
        import sklearn  # noqa: F401
        from paddle import inference

        parameters = {key: entry["string_value"] for key, entry in config.get("parameters", {}).items()}
        settings = inference.Config(path, str(Path(path).with_suffix(".pdiparams")))
        settings.disable_glog_info()
        settings.enable_memory_optim()
        program = _program(path)
        shapes = {each.name: list(each.type.lod_tensor.tensor.dims) for each in program.vars}
        if mode := parameters.get("tensorrt"):
            fed = {name: shapes[name] for op in program.ops if op.type == "feed" for name in op.outputs[0].arguments}
            most = max(1, int(config.get("max_batch_size", 1)))
            _use_tensorrt(inference, settings, path, mode, fed, most, parameters.get("tensorrt_cache", ""))
        else:
            _use_cpu(settings, {op.type for op in program.ops}, parameters)
        self._predictor = inference.create_predictor(settings)
        self._inputs = {name: self._predictor.get_input_handle(name) for name in self._predictor.get_input_names()}
        names = self._predictor.get_output_names()
        self._outputs = {name: self._predictor.get_output_handle(name) for name in names}
        self.inputs = [(name, "FP32", list(shapes[name])) for name in self._inputs]
        self.outputs = self._tried()

    def run(self, feed: dict[str, Array]) -> dict[str, Array]:
        """One batch."""
        for name, handle in self._inputs.items():
            handle.reshape(feed[name].shape)
            handle.copy_from_cpu(np.ascontiguousarray(feed[name]))
        self._predictor.run()
        return {name: handle.copy_to_cpu() for name, handle in self._outputs.items()}

    def layers(self, feed: dict[str, Array], repeats: int) -> list[Layer]:
        """Every primitive of oneDNN, which prints what it runs when asked, and what else Paddle does as one layer.

        Paddle's own profiler knows neither layers nor their datatypes, and prints its sums when the process ends.
        """
        onednn, libc = ctypes.CDLL(_onednn()), ctypes.CDLL(None)
        times, runs = [], []
        for _ in range(WARM_UP):
            self.run(feed)
        sys.stdout.flush()
        stdout = os.dup(1)
        with tempfile.TemporaryFile() as log:
            os.dup2(log.fileno(), 1)
            try:
                for _ in range(repeats):  # printing takes time, so a run without it goes first
                    onednn.dnnl_set_verbose(0)
                    started = time.perf_counter_ns()
                    self.run(feed)
                    times.append(time.perf_counter_ns() - started)
                    log.seek(0)
                    log.truncate()
                    onednn.dnnl_set_verbose(1)
                    self.run(feed)
                    libc.fflush(None)
                    log.seek(0)
                    runs.append(log.read().decode())
            finally:
                onednn.dnnl_set_verbose(0)
                os.dup2(stdout, 1)
                os.close(stdout)
        return told(runs, times)

    def _tried(self) -> list[TensorInfo]:
        """Datatypes and ranks of the outputs, which Paddle tells only behind a run; their sizes may vary, so -1.

        Free sizes of the inputs are tried as 1, but for height and width, where nets need some room, as 64.
        """
        made = self.run({name: np.ones(_smallest(shape), np.float32) for name, _, shape in self.inputs})
        kinds = {name: str(array.dtype) for name, array in made.items()}
        return [(name, DATATYPES.get(kinds[name], kinds[name]), [-1] * array.ndim) for name, array in made.items()]


def _use_cpu(settings: Any, kinds: set[str], parameters: dict[str, str]) -> None:
    settings.disable_gpu()
    settings.enable_mkldnn()
    for each in WRONG_PASSES:
        settings.delete_pass(each)
    if parameters.get("int8") == "true":
        settings.enable_mkldnn_int8(set(INTEGER_OPS))
    elif kinds & SLOW_OPS:
        settings.set_mkldnn_op(kinds - SLOW_OPS)
    settings.set_cpu_math_library_num_threads(int(parameters.get("cpu_threads", "1")))


def _use_tensorrt(
    inference: Any, settings: Any, path: str, mode: str, shapes: dict[str, list[int]], most: int, cache: str
) -> None:
    """Take what TensorRT can run to it, for batches up to `most`; shapes of the inputs by name."""
    kinds = inference.PrecisionType
    modes = {"FP32": kinds.Float32, "FP16": kinds.Half, "INT8": kinds.Int8}
    if mode not in modes:
        raise ValueError(f"tensorrt {mode}: choose one of {', '.join(modes)}")
    if not any(inference.get_trt_compile_version()):
        raise ValueError("this Paddle was built without TensorRT; install paddlepaddle-gpu in place of paddlepaddle")
    settings.enable_use_gpu(GPU_MEMORY_MB, 0)
    settings.enable_tensorrt_engine(
        workspace_size=WORKSPACE,
        max_batch_size=most,
        min_subgraph_size=3,
        precision_mode=modes[mode],
        use_static=True,
        use_calib_mode=False,
    )
    ranges = Path(cache or ".") / f"{hashlib.sha256(Path(path).read_bytes()).hexdigest()[:16]}-{most}.pbtxt"
    ranges.parent.mkdir(parents=True, exist_ok=True)
    settings.set_optim_cache_dir(str(ranges.with_suffix("")))
    if not ranges.exists():
        _learn_ranges(inference, path, shapes, most, ranges)
    settings.enable_tuned_tensorrt_dynamic_shape(str(ranges), True)


def _learn_ranges(inference: Any, path: str, shapes: dict[str, list[int]], most: int, out: Path) -> None:
    """Write what shapes each tensor has for the smallest and the largest batch, by running both on the CPU."""
    settings = inference.Config(path, str(Path(path).with_suffix(".pdiparams")))
    settings.disable_glog_info()
    settings.disable_gpu()
    settings.switch_ir_optim(False)
    staged = out.with_name(f".{out.name}.{os.getpid()}")
    settings.collect_shape_range_info(str(staged))
    predictor = inference.create_predictor(settings)
    for batch in (1, most):
        for name in predictor.get_input_names():
            shape = [batch if shapes[name][0] < 0 else shapes[name][0], *_smallest(shapes[name])[1:]]
            handle = predictor.get_input_handle(name)
            handle.reshape(shape)
            handle.copy_from_cpu(np.ones(shape, np.float32))
        predictor.run()
    del predictor  # which writes the file
    staged.replace(out)


def told(runs: list[str], times: list[int]) -> list[Layer]:
    """The layers of runs from what oneDNN printed in each, whose times are in ms, and the ns of runs without print."""
    lines = [[line.split(",") for line in run.splitlines() if line.startswith("onednn_verbose,exec,")] for run in runs]
    if not lines[0] or len({len(each) for each in lines}) > 1:
        raise ValueError("oneDNN did not tell the same layers in every run")
    found: list[Layer] = []
    for place, same in enumerate(zip(*lines, strict=True)):
        _, _, _, kind, _, _, tensors, *_, problem, _ = same[0]
        name = f"{place + 1} {problem}"
        found.append((name, kind, _datatype(kind, tensors), [round(float(words[-1]) * 1e6) for words in same]))
    sums = map(sum, zip(*(layer[3] for layer in found), strict=True))
    rest = [max(0, whole - inside) for whole, inside in zip(times, sums, strict=True)]
    return [*found, ("all that oneDNN does not run", "-", "-", rest)]


def _datatype(kind: str, tensors: str) -> str:
    source, target = (re.search(rf"\b(?:{side}|data)_([a-z0-9]+)", tensors) for side in ("src", "dst"))
    if source is None or (kind == "reorder" and target is not None and source[1] != target[1]):
        return "-"
    return TRACED.get(source[1], "-")


def _onednn() -> str:
    import paddle

    found = sorted((Path(paddle.__file__).parent / "libs").glob("libdnnl.so*"))
    if not found:
        raise ValueError("this Paddle has no oneDNN, which alone tells of its layers")
    return str(found[0])


def _program(path: str) -> Any:
    """The operations and variables of a model, of which a predictor of Paddle 2.6 tells the names only."""
    from paddle.base.proto import framework_pb2

    return framework_pb2.ProgramDesc.FromString(Path(path).read_bytes()).blocks[0]


def _smallest(shape: list[int]) -> list[int]:
    return [size if size > 0 else (1 if place < 2 else 64) for place, size in enumerate(shape)]
