"""The engine builder against what three versions of TensorRT have, and the life of an engine in a repository."""

import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from qtriton import machine
from qtriton.backends.tensorrt import engine
from qtriton.backends.tensorrt.builder import build_plan, source_of
from qtriton.backends.tensorrt.recipe import EngineRecipe, PlanFacts, engine_recipe
from qtriton.builder import engine as engine_module
from qtriton.errors import CompressionError, RepositoryError, SetupError
from qtriton.machine import Gpu
from qtriton.operate.engines import EngineBuild, build_engines
from qtriton.progress import SILENT
from qtriton.repository.check.engines import GpuServer, engine_problems
from qtriton.repository.check.model import Model
from qtriton.repository.engines import pending
from qtriton.repository.render import parse_config
from qtriton.server.embedded import serve
from qtriton.target import Precision
from qtriton.workspace import Workspace, sha256_file

SURFACES = {path.stem: json.loads(path.read_text()) for path in Path(__file__).parent.glob("tensorrt_api/*.json")}
T4 = Gpu("Tesla T4", "7.5", "550.54.15")
H100 = Gpu("NVIDIA H100 80GB HBM3", "9.0", "580.159.04")
Calls = list[tuple[str, tuple[Any, ...]]]


def tensorrt(version: str, calls: Calls, **answers: Any) -> ModuleType:
    """A module with the names of a version and no others; it notes the calls, and answers as it is told."""
    surface = SURFACES[version]
    module = ModuleType("tensorrt")
    vars(module).update({"__version__": surface["version"]})

    def called(name: str, *given: Any) -> Any:
        calls.append((name, given))
        found = answers.get(name.rpartition(".")[2])
        return found(*given) if callable(found) else found

    def cls(name: str, members: list[str]) -> type:
        def read(self: Any, member: str) -> Any:
            if member not in members:
                raise AttributeError(f"{name} of TensorRT {surface['version']} has no {member}")
            return lambda *given: called(f"{name}.{member}", *given)

        def write(self: Any, member: str, value: Any) -> None:
            if member not in members and name not in ("ILogger", "IProfiler"):  # which we derive from
                raise AttributeError(f"{name} of TensorRT {surface['version']} has no {member}")
            calls.append((f"{name}.{member}", (value,)))
            object.__setattr__(self, member, value)

        numbers = {member: number for number, member in enumerate(members) if member.isupper()}
        return type(name, (), {"__init__": lambda self, *_: None, "__getattr__": read, "__setattr__": write, **numbers})

    for name, members in surface["classes"].items():
        setattr(module, name, cls(name, members))
    severity = type("Severity", (), {"ERROR": 1, "INTERNAL_ERROR": 0})
    module.ILogger.Severity = severity
    for name in surface["functions"]:
        setattr(module, name, lambda *given, name=name: called(name, *given))

    def one_of(name: str) -> Any:
        return getattr(module, name)()

    defaults = {
        "create_network": lambda *_: one_of("INetworkDefinition"),
        "create_builder_config": lambda: one_of("IBuilderConfig"),
        "create_optimization_profile": lambda: one_of("IOptimizationProfile"),
        "create_timing_cache": lambda *_: one_of("ITimingCache"),
        "get_timing_cache": lambda: one_of("ITimingCache"),
        "serialize": lambda: b"timings",
        "parse_from_file": True,
        "build_serialized_network": b"plan",
    }
    answers |= {name: answer for name, answer in defaults.items() if name not in answers}
    return module


def recipe(precision: Precision, batch: int = 8) -> EngineRecipe:
    return engine_recipe({"images": (3, 32, 32)}, batch, precision)


def test_the_versions_are_those_that_differ() -> None:
    offered = {version: "INT8" in surface["classes"]["BuilderFlag"] for version, surface in SURFACES.items()}
    assert offered == {"8.6.0": True, "10.16.1.11": True, "11.4.0.106": False}


@pytest.mark.parametrize("version", SURFACES)
@pytest.mark.parametrize("precision", Precision)
def test_every_version_builds_every_precision(version: str, precision: Precision, tmp_path: Path) -> None:
    calls: Calls = []
    plan = build_plan(tensorrt(version, calls), tmp_path, recipe(precision), b"old")
    assert (plan.data, plan.timings) == (b"plan", b"timings")
    flags = {given[0] for name, given in calls if name == "IBuilderConfig.set_flag"}
    assert len(flags) == (precision.quantized + precision.half if version.startswith("8.") else 0)
    (parsed,) = [given[0] for name, given in calls if name == "OnnxParser.parse_from_file"]
    wanted = "model.fp32.onnx" if version.startswith("8.") and precision.half else "model.onnx"
    assert Path(parsed).name == wanted
    shapes = [given for name, given in calls if name == "IOptimizationProfile.set_shape"]
    assert shapes == [("images", (1, 3, 32, 32), (1, 3, 32, 32), (8, 3, 32, 32))]
    assert ("IBuilderConfig.create_timing_cache", (b"old",)) in calls


def test_without_flags_the_types_of_the_graph_decide_whatever_the_network_is_called(tmp_path: Path) -> None:
    """As it will be where TensorRT drops the name of what cannot be chosen any more."""
    calls: Calls = []
    trt = tensorrt("11.4.0.106", calls)
    delattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED")
    build_plan(trt, tmp_path, recipe(Precision.INT8_FP16))
    assert ("Builder.create_network", (0,)) in calls
    assert [Path(*given).name for name, given in calls if name == "OnnxParser.parse_from_file"] == ["model.onnx"]
    assert not [given for name, given in calls if name == "IBuilderConfig.set_flag"]


@pytest.mark.parametrize("version", SURFACES)
def test_a_fixed_shape_needs_no_profile(version: str, tmp_path: Path) -> None:
    calls: Calls = []
    build_plan(tensorrt(version, calls), tmp_path, recipe(Precision.INT8, batch=0))
    assert not [name for name, _ in calls if "rofile" in name and "verbosity" not in name]


@pytest.mark.parametrize("version", SURFACES)
def test_every_version_tells_of_its_layers(version: str, monkeypatch: pytest.MonkeyPatch) -> None:
    told = {"Name": "Conv_0", "LayerType": "CaskConvolution", "Weights": {"Type": "Int8"}, "Inputs": [], "Outputs": []}
    calls: Calls = []
    trt = tensorrt(version, calls, get_layer_information=lambda place, _: json.dumps(told | {"Name": f"Conv_{place}"}))
    monkeypatch.setitem(sys.modules, "tensorrt", trt)
    plan = object.__new__(engine.Engine)  # what loads it needs a GPU
    plan._engine, plan._context = trt.ICudaEngine(), trt.IExecutionContext()
    plan._engine.num_layers, plan._engine.create_engine_inspector = 2, trt.EngineInspector

    def run(_: object) -> None:
        for place in range(2):
            plan._context.profiler.report_layer_time(f"Conv_{place}", 0.25 * (place + 1))

    monkeypatch.setattr(plan, "run", run)
    layers = plan.layers({}, 3)
    assert layers == [(f"Conv_{i}", "CaskConvolution", "INT8", [250_000 * (i + 1)] * 3) for i in range(2)]
    assert ("EngineInspector.execution_context", (plan._context,)) in calls


def test_a_model_that_tensorrt_cannot_read_is_told_in_its_words(tmp_path: Path) -> None:
    class Parser:
        def __init__(self, *_: Any) -> None: ...

        num_errors = 1

        def parse_from_file(self, _: str) -> bool:
            return False

        def get_error(self, _: int) -> str:
            return "No importer for op Mystery"

    trt: Any = tensorrt("10.16.1.11", [])
    trt.OnnxParser = Parser
    with pytest.raises(CompressionError, match=r"No importer for op Mystery.*Try another --precision"):
        build_plan(trt, tmp_path, recipe(Precision.INT8))


def test_no_engine_is_an_error_with_the_last_words(tmp_path: Path) -> None:
    with pytest.raises(CompressionError, match=r"built no engine .it does not say why"):
        build_plan(tensorrt("11.4.0.106", [], build_serialized_network=None), tmp_path, recipe(Precision.INT8))


def test_a_tensorrt_that_does_not_start_is_an_error(tmp_path: Path) -> None:
    trt: Any = tensorrt("8.6.0", [])

    def null(_: Any) -> None:
        raise TypeError("pybind11::init(): factory function returned nullptr")

    trt.Builder = null
    with pytest.raises(SetupError, match="does not start on this machine"):
        build_plan(trt, tmp_path, recipe(Precision.FP32))


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """One model whose engine is pending."""
    folder = tmp_path / "repository" / "net_tensorrt_int8_fp16_runtime" / "1"
    folder.mkdir(parents=True)
    for name in ("model.onnx", "model.fp32.onnx"):
        (folder / name).write_text(name)
    recipe(Precision.INT8_FP16).save(folder)
    return tmp_path / "repository"


@pytest.fixture
def on(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, repository: Path) -> Any:
    """Build the engines of the repository as on a machine with some TensorRT and some GPU."""

    def build(version: str, here: Gpu | None, calls: Calls | None = None) -> list[EngineBuild]:
        monkeypatch.setitem(sys.modules, "tensorrt", tensorrt(version, [] if calls is None else calls))
        monkeypatch.setattr(machine, "gpu", lambda: here)
        # Without the process that it runs in; tests/e2e has that.
        monkeypatch.setattr(engine_module, "build_isolated", lambda *given: build_plan(sys.modules["tensorrt"], *given))
        return list(build_engines(repository, Workspace(tmp_path / "cache"), SILENT))

    return build


def test_a_pending_engine_is_built_once_for_each_place(repository: Path, on: Any) -> None:
    folder = repository / "net_tensorrt_int8_fp16_runtime" / "1"
    assert pending(repository) == ("net_tensorrt_int8_fp16_runtime",)
    calls: Calls = []
    (built,) = on("10.16.1.11", T4, calls)
    assert built.changed and pending(repository) == ()
    assert (folder / "model.plan").read_bytes() == b"plan"
    facts = PlanFacts.load(folder)
    assert (facts.tensorrt, facts.gpu, facts.compute_capability, facts.driver) == ("10.16.1.11", *vars(T4).values())
    assert facts.onnx_sha256 == sha256_file(folder / "model.onnx")
    assert not on("10.16.1.11", T4)[0].changed
    assert on("10.16.1.11", H100)[0].changed
    calls.clear()
    assert on("10.16.1.11", T4, calls)[0].changed and calls == []  # from the cache
    on("8.6.0", T4)
    assert PlanFacts.load(folder).onnx_sha256 == sha256_file(folder / "model.fp32.onnx")


def test_an_engine_of_another_model_or_broken_is_built_anew(repository: Path, on: Any) -> None:
    folder = repository / "net_tensorrt_int8_fp16_runtime" / "1"
    on("11.4.0.106", T4)
    (folder / "model.onnx").write_text("another")
    assert on("11.4.0.106", T4)[0].changed
    (folder / "model.plan").write_text("torn")
    assert on("11.4.0.106", T4)[0].changed
    (folder / "plan.json").write_text("{")
    assert on("11.4.0.106", T4)[0].changed


def test_what_is_missing_is_a_sentence_with_a_cure(
    repository: Path, on: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with pytest.raises(SetupError, match=r"no NVIDIA GPU here.*Copy the repository there"):
        on("10.16.1.11", None)
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    with pytest.raises(SetupError, match=r"TensorRT is not installed here.*pip install"):
        list(build_engines(repository, Workspace(tmp_path / "cache"), SILENT))
    old: Any = ModuleType("tensorrt")
    old.__version__ = "8.4.3.1"
    monkeypatch.setitem(sys.modules, "tensorrt", old)
    with pytest.raises(SetupError, match=r"8.4.3.1 is too old"):
        list(build_engines(repository, Workspace(tmp_path / "cache"), SILENT))
    (repository / "net_tensorrt_int8_fp16_runtime" / "1" / "engine.json").write_text("{}")
    with pytest.raises(RepositoryError, match="Publish the model again"):
        on("10.16.1.11", T4)


def problems(repository: Path, server: GpuServer) -> list[str]:
    folder = repository / "net_tensorrt_int8_fp16_runtime"
    config = parse_config('platform: "tensorrt_plan"', folder.name)
    found = engine_problems(Model(folder.name, folder, config), server)
    return [f"{each.where}: {each.sentence}" for each in found]


@pytest.mark.parametrize(
    ("server", "told"),
    [
        (GpuServer(), ""),
        (GpuServer("10.16.1.11", "Tesla T4"), ""),
        (GpuServer("10.16"), ""),
        (GpuServer("10.1"), "was built by TensorRT 10.16.1.11, the server has 10.1"),
        (GpuServer("8.6.1"), "was built by TensorRT 10.16.1.11, the server has 8.6.1"),
        (GpuServer(gpu="NVIDIA A10"), "was built on Tesla T4, the server has NVIDIA A10"),
    ],
)
def test_check_refuses_a_plan_from_elsewhere(repository: Path, on: Any, server: GpuServer, told: str) -> None:
    on("10.16.1.11", T4)
    found = problems(repository, server)
    assert len(found) == bool(told) and told in "".join(found)


def test_check_refuses_a_plan_of_another_model(repository: Path, on: Any) -> None:
    on("10.16.1.11", T4)
    folder = repository / "net_tensorrt_int8_fp16_runtime" / "1"
    (folder / "model.onnx").write_text("another")
    assert "does not fit the model and recipe beside it" in problems(repository, GpuServer())[0]
    (folder / "model.plan").write_text("torn")
    assert "does not fit plan.json beside it" in problems(repository, GpuServer())[0]


def test_a_server_does_not_start_while_an_engine_is_pending(repository: Path) -> None:
    with pytest.raises(RepositoryError, match=r"is pending.*qtriton engines build"), serve(repository):
        pass


def test_the_typed_onnx_is_for_strong_typing() -> None:
    half, whole = recipe(Precision.FP16), recipe(Precision.INT8)
    assert [source_of(tensorrt(v, []), half) for v in ("8.6.0", "11.4.0.106")] == ["model.fp32.onnx", "model.onnx"]
    assert source_of(tensorrt("8.6.0", []), whole) == "model.onnx"


@pytest.mark.parametrize(
    ("listed", "found"),
    [
        ("Tesla T4, 7.5, 550.54.15\nTesla T4, 7.5, 550.54.15\n", T4),
        ("", None),
        ("No devices were found\n", None),
    ],
)
def test_the_first_gpu(listed: str, found: Gpu | None) -> None:
    assert machine.parse_gpus(listed) == found
