"""What a GPU changes in a build, and what the runtimes on it are told; no test here needs one."""

from collections.abc import Callable
from contextlib import nullcontext
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from qtriton import machine as this_machine
from qtriton import packages
from qtriton.backends import BACKENDS, backend_for, cpu_fallback, devices, native, triton_backends
from qtriton.backends.base import GpuRuntime
from qtriton.backends.onnxruntime import engine as onnxruntime_engine
from qtriton.builder import artifact as artifacts
from qtriton.builder import timing
from qtriton.builder.artifact import Artifact
from qtriton.builder.cache_key import StageKey
from qtriton.builder.speed import speed
from qtriton.builder.timing import PairTimes
from qtriton.errors import ArtifactLoadError, CompressionError, InputError, RepositoryError, UnsupportedError
from qtriton.evidence import Interval
from qtriton.machine import Gpu
from qtriton.operate import serve as operate
from qtriton.options import BuildOptions
from qtriton.plan import make_plan
from qtriton.progress import SILENT
from qtriton.repository.config import DataType, RuntimeStep, Tensor
from qtriton.repository.manifest import Bounds, Speed
from qtriton.repository.naming import Names
from qtriton.request import Request
from qtriton.server import ServerOptions, requirements
from qtriton.server.folder import prepare
from qtriton.server.wheel import Wheel
from qtriton.spec_files import load_spec
from qtriton.target import Precision, Target

T4 = Gpu("Tesla T4", "7.5", "550.54.15")
DEVICE = "Tesla T4, TensorRT 10.3.0"
RATIO = Interval(1.9, 2.1, 0.95, "made up")
INT8 = Target("tensorrt", Precision.INT8)


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Callable[[Gpu | None, str | None], None]:
    """A machine with some GPU and some version of every runtime; none where it has none."""

    def with_(here: Gpu | None, version: str | None) -> None:
        monkeypatch.setattr(this_machine, "gpu", lambda: here)
        monkeypatch.setattr(GpuRuntime, "version", lambda self: version)

    return with_


@pytest.mark.parametrize(
    ("here", "version", "device"),
    [(T4, "10.3.0", DEVICE), (T4, None, ""), (None, "10.3.0", ""), (None, None, "")],
)
def test_a_device_is_a_gpu_with_the_runtime_on_it(
    machine: Callable[..., None], here: Gpu | None, version: str | None, device: str
) -> None:
    machine(here, version)
    assert devices(["tensorrt", "onnxruntime"]) == {"tensorrt": device, "onnxruntime": ""}


@pytest.mark.parametrize("name", [name for name in BACKENDS if name not in native()])
def test_something_stands_in_only_where_there_is_no_device(name: str) -> None:
    precision = min(BACKENDS[name].precisions)
    instead = cpu_fallback(Target(name, precision))
    assert instead is not None and instead.engine.is_file() and instead.title not in ("", BACKENDS[name].title)
    assert cpu_fallback(Target(name, precision, device=DEVICE)) is None


def test_what_runs_on_a_cpu_has_no_stand_in() -> None:
    assert [cpu_fallback(Target(name, Precision.INT8)) for name in native()] == [None] * len(native())
    assert native() == tuple(triton_backends())[: len(native())]


def test_a_plan_takes_the_device_into_its_targets_and_its_steps(tmp_path: Path) -> None:
    def plan(**known: Any) -> Any:
        options = BuildOptions(backend="tensorrt", repository=tmp_path)
        return make_plan(load_spec("demo_digits"), Request(options, **known), tmp_path)

    there, without = plan(devices={"tensorrt": DEVICE}), plan()
    assert {target.device for target in there.variants} == {DEVICE}
    assert {target.device for target in without.variants} == {""}
    told = [step.what for step in (*there.steps, *without.steps) if step.name == "artifact"]
    assert [f"build its engine on {DEVICE}" in what for what in told] == [True, True, False, False]
    assert "load it in ONNX Runtime, as there is no GPU with TensorRT here" in told[-1]


def test_fp32_beside_pinned_memory_is_the_plain_one(tmp_path: Path) -> None:
    options = BuildOptions(Precision.INT8_FP16, "tensorrt", tmp_path, pinned_memory=True)
    variants = make_plan(load_spec("demo_digits"), Request(options), tmp_path).variants
    assert [Names.of("m", target).ensemble for target in variants] == ["m_tensorrt_fp32", "m_tensorrt_int8_fp16_pm"]


@pytest.mark.parametrize(
    ("backend", "level", "told"),
    [
        ("tensorrt", 6, "0 builds an engine fastest"),
        ("onnxruntime", 0, "is for --backend tensorrt, not for onnxruntime"),
    ],
)
def test_an_optimization_level_is_tensorrts(backend: str, level: int, told: str, tmp_path: Path) -> None:
    options = BuildOptions(backend=backend, repository=tmp_path, optimization_level=level)
    with pytest.raises(InputError, match=told):
        make_plan(load_spec("demo_digits"), Request(options), tmp_path)


@pytest.mark.parametrize("backend", [*(name for name in BACKENDS if name != "tensorrt"), "tensorrt,onnxruntime"])
def test_cuda_graphs_are_tensorrts(backend: str, tmp_path: Path) -> None:
    options = BuildOptions(Precision.FP32, backend, tmp_path, cuda_graphs=True)
    other = backend.removeprefix("tensorrt,")
    with pytest.raises(InputError, match=f"^--cuda-graphs is for --backend tensorrt, not for {other}. Leave"):
        make_plan(load_spec("demo_digits"), Request(options), tmp_path)


@pytest.mark.parametrize("graphs", [False, True])
def test_fp32_has_cuda_graphs_where_what_it_is_compared_with_has_them(graphs: bool, tmp_path: Path) -> None:
    options = BuildOptions(Precision.INT8, "tensorrt", tmp_path, cuda_graphs=graphs)
    variants = make_plan(load_spec("demo_digits"), Request(options), tmp_path).variants
    assert [target.precision for target in variants] == [Precision.FP32, Precision.INT8]
    assert [backend_for(target).serving(target).cuda_graphs for target in variants] == [graphs, graphs]


SOURCES: Any = SimpleNamespace(context=SimpleNamespace(workspace="cache", reporter="reporter"))


def test_an_artifact_on_a_gpu_is_opened_as_its_plan(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked: list[tuple[Any, ...]] = []

    def build_engine(*given: Any) -> Path:
        asked.append(given)
        return tmp_path / "engine"

    monkeypatch.setattr(artifacts, "build_engine", build_engine)
    there = Target("tensorrt", Precision.INT8, device=DEVICE)
    opened = Artifact(there, tmp_path, None, artifacts._engine(SOURCES, there, tmp_path, "m: int8")).opened
    assert opened == tmp_path / "engine" / "model.plan" and asked == [(tmp_path, "m: int8", "cache", "reporter")]
    without = Artifact(INT8, tmp_path, None, artifacts._engine(SOURCES, INT8, tmp_path, "m: int8"))
    assert without.opened == tmp_path / "model.onnx"
    # ONNX Runtime builds its engine itself.
    other = Target("onnxruntime-tensorrt", Precision.INT8, device=DEVICE)
    assert artifacts._engine(SOURCES, other, tmp_path, "m: int8") is None and len(asked) == 1


def test_an_engine_that_cannot_be_built_is_a_refusal_of_that_backend(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> Path:
        raise CompressionError("TensorRT built no engine")

    monkeypatch.setattr(artifacts, "build_engine", fail)
    with pytest.raises(ArtifactLoadError, match="built no engine"):
        artifacts._engine(SOURCES, Target("tensorrt", Precision.INT8, device=DEVICE), Path("artifact"), "m: int8")


def test_the_speed_on_a_gpu_is_that_of_the_device(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The very stage runs, but for the runs themselves."""
    monkeypatch.setattr(timing, "time_pair", lambda fp32, compressed, progress: PairTimes(2.0, 1.0, RATIO))
    monkeypatch.setattr(Artifact, "files", lambda self: ())

    def stage(key: StageKey, produce: Callable[[Path], None]) -> Path:
        produce(tmp_path)
        return tmp_path

    context: Any = SimpleNamespace(spec=SimpleNamespace(name="m"), timed_stage=stage, reporter=SILENT)
    pair = [Artifact(Target("tensorrt", each, device=DEVICE), tmp_path) for each in (Precision.FP32, Precision.INT8)]
    bounds = Bounds(lower=1.9, upper=2.1, level=0.95)
    expected = Speed(fp32_ms=2.0, compressed_ms=1.0, threads=0, processor=DEVICE, bounds=bounds)
    assert speed(context, *pair) == expected


@pytest.mark.parametrize(
    ("backend", "precision", "way"),
    [
        ("onnxruntime-tensorrt", Precision.INT8_FP16, "--backend tensorrt"),
        ("paddle-tensorrt", Precision.INT8, "--precision int8-fp16"),
        ("onnxruntime", Precision.FP16, "--backend onnxruntime-tensorrt"),
    ],
)
def test_a_precision_that_does_not_exist_names_one_that_does(backend: str, precision: Precision, way: str) -> None:
    with pytest.raises(UnsupportedError, match=f"does not exist on .*{way}"):
        backend_for(Target(backend, precision))


@pytest.mark.parametrize(("batch", "ranges"), [(8, ["1x3x4x4", "1x3x4x4", "8x3x4x4"]), (1, []), (0, [])])
def test_an_accelerator_is_told_the_range_of_batches(batch: int, ranges: list[str]) -> None:
    """Else it would build an engine anew for every batch that it has not seen."""
    serving = BACKENDS["onnxruntime-tensorrt"].serving(Target("onnxruntime-tensorrt", Precision.FP16))
    ports = (Tensor("x", DataType.FP32, (3, 4, 4)),)
    told = dict(RuntimeStep("m", serving, batch, ports, ports).accelerator_parameters)
    assert told["precision_mode"] == "FP16" and told["trt_engine_cache_enable"] == "true"
    assert [text for key, text in told.items() if "profile" in key] == [f"x:{shape}" for shape in ranges]


def test_what_triton_is_told_of_tensorrt_onnxruntime_is_told_in_its_own_words() -> None:
    parameters = {"precision_mode": "FP16", "max_workspace_size_bytes": "1", "trt_engine_cache_path": "/c"}
    assert onnxruntime_engine.tensorrt_options(parameters) == {
        "trt_fp16_enable": "True",
        "trt_max_workspace_size": "1",
        "trt_engine_cache_path": "/c",
    }
    with pytest.raises(ValueError, match="precision_mode INT4: choose one of FP32, FP16, INT8"):
        onnxruntime_engine.tensorrt_options({"precision_mode": "INT4"})


def test_an_onnxruntime_that_fell_back_is_an_error_and_not_a_slow_server(tmp_path: Path) -> None:
    serving = BACKENDS["onnxruntime-tensorrt"].serving(Target("onnxruntime-tensorrt", Precision.INT8))
    config = serving.as_config()
    (told,) = config["optimization"]["execution_accelerators"]["gpu_execution_accelerator"]
    told["parameters"]["trt_engine_cache_path"] = str(tmp_path)

    def runtime(offered: list[str], started: list[str]) -> Any:
        session = SimpleNamespace(get_providers=lambda: started)
        return SimpleNamespace(
            __version__="1.32", get_available_providers=lambda: offered, InferenceSession=lambda *_, **__: session
        )

    cpu, tensorrt = "CPUExecutionProvider", onnxruntime_engine.TENSORRT
    with pytest.raises(ValueError, match=r"has no TensorRT; install onnxruntime-gpu"):
        onnxruntime_engine._session(runtime([cpu], [cpu]), "model.onnx", None, config)
    with pytest.raises(ValueError, match=r"TensorRT does not start"):
        onnxruntime_engine._session(runtime([tensorrt, cpu], [cpu]), "model.onnx", None, config)
    both = runtime([tensorrt, cpu], [tensorrt, cpu])
    assert onnxruntime_engine._session(both, "model.onnx", None, config).get_providers()[0] == tensorrt
    told["name"] = "other"
    with pytest.raises(ValueError, match="other: only tensorrt is known"):
        onnxruntime_engine._session(both, "model.onnx", None, config)


def add_config(repository: Path, name: str, text: str) -> None:
    (repository / name).mkdir(parents=True)
    (repository / name / "config.pbtxt").write_text(text)


def test_a_repository_for_a_gpu_is_not_served_without_one(machine: Callable[..., None], tmp_path: Path) -> None:
    add_config(tmp_path, "cpu", 'backend: "python" instance_group [{ kind: KIND_CPU }]')
    machine(None, None)
    requirements.require_gpu(tmp_path)
    assert requirements.startup_s(tmp_path) == requirements.USUAL_S
    add_config(tmp_path, "plan", 'platform: "tensorrt_plan" instance_group [{ kind: KIND_GPU }]')
    with pytest.raises(RepositoryError, match=r"plan run on an NVIDIA GPU, and there is none here"):
        requirements.require_gpu(tmp_path)
    machine(T4, None)
    requirements.require_gpu(tmp_path)
    assert requirements.startup_s(tmp_path) == requirements.USUAL_S
    add_config(tmp_path, "paddle", 'backend: "paddle" instance_group [{ kind: KIND_GPU }]')
    assert requirements.startup_s(tmp_path) == requirements.BUILDING_S
    add_config(tmp_path, "broken", "{")  # Triton says why it does not load
    requirements.require_gpu(tmp_path)


GRAPHS = 'platform: "tensorrt_plan" max_batch_size: 1 optimization { cuda { graphs: true } }'


@pytest.mark.parametrize(("more", "warned"), [((), True), (("onnxruntime",), True), (("tensorrt",), False)])
def test_who_serves_without_cuda_graphs_is_told_so(
    more: tuple[str, ...], warned: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rest of the embedded server needs processes."""
    messages: list[str] = []
    reporter: Any = SimpleNamespace(progress=SILENT.progress, warn=messages.append)
    monkeypatch.setattr(operate, "serve", lambda *_: nullcontext())
    add_config(tmp_path / "repository", "cpu", 'backend: "python"')
    own = [tmp_path / "own" / name for name in more]
    for folder in own:
        folder.mkdir(parents=True)
    options = ServerOptions(backends=own[0].parent if own else None)
    with operate.serve_repository(tmp_path / "repository", options, reporter):
        assert messages == []
    add_config(tmp_path / "repository", "graph", GRAPHS)
    with operate.serve_repository(tmp_path / "repository", options, reporter):
        assert ["graph: served without CUDA graphs" in message for message in messages] == [True] * warned


def test_tritons_own_backend_takes_the_place_of_ours(tmp_path: Path) -> None:
    stub = tmp_path / "stub"
    (tmp_path / "python").mkdir()
    stub.write_text("stub")
    wheel = Wheel(tmp_path, tmp_path / "python", stub, tmp_path)
    (tmp_path / "own" / "tensorrt").mkdir(parents=True)
    (tmp_path / "own" / "tensorrt" / "libtriton_tensorrt.so").write_text("library")
    layout = prepare(tmp_path / "server", wheel, tmp_path / "own")
    assert [path.name for path in (layout.backends / "tensorrt").iterdir()] == ["libtriton_tensorrt.so"]
    assert (layout.backends / "onnxruntime" / "model.py").is_file()
    with pytest.raises(InputError, match=r"holds no backend"):
        prepare(tmp_path / "another", wheel, tmp_path / "own" / "tensorrt")


def test_a_build_for_gpus_takes_the_place_of_a_package(monkeypatch: pytest.MonkeyPatch) -> None:
    """pip knows it under another name, and a build that asks for the usual one shall not end."""
    there = {"onnxruntime-gpu": "1.20.1", "numpy": "1.26.4"}

    def version(name: str) -> str:
        if name not in there:
            raise PackageNotFoundError(name)
        return there[name]

    monkeypatch.setattr(packages, "version", version)
    assert packages.version_of("onnxruntime") == "1.20.1"
    assert packages.version_of("tensorrt", "numpy") == "1.26.4"
    assert packages.version_of("paddlepaddle") is None
