"""What makes a stage run again, and what does not."""

import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

import pytest

import qtriton
import qtriton_client
from qtriton import resources
from qtriton.backends.tensorrt.builder import build_plan
from qtriton.builder import cache_key, pipeline
from qtriton.builder.artifact import write_artifact
from qtriton.builder.cache_key import OURS, Sources, StageKey
from qtriton.builder.context import BuildContext
from qtriton.builder.evaluate import measure_accuracy, measure_agreement
from qtriton.builder.fp16_range import write_overflowing
from qtriton.builder.fp32 import write_fp32_onnx
from qtriton.builder.images import write_frames
from qtriton.builder.inputs import Datasets
from qtriton.builder.sensitivity import measure_sensitivity
from qtriton.builder.sources import Sources as ArtifactSources
from qtriton.builder.timing import time_pair
from qtriton.builder.unpack import unpack
from qtriton.compress.act import compress, import_onnx, restore_float, train
from qtriton.demo.scenes import write_dataset
from qtriton.evidence import drop_interval
from qtriton.plan import Plan
from qtriton.progress import SILENT
from qtriton.recipe import Algorithm, Recipe
from qtriton.request import Request
from qtriton.spec import ModelSpec
from qtriton.spec_files import parse_spec
from qtriton.workspace import Workspace

#: Every function whose result is kept.
PRODUCERS: list[Callable[..., Any]] = [
    *(write_dataset, unpack, write_fp32_onnx, import_onnx, write_frames, compress, train, restore_float),
    *(
        write_overflowing,
        measure_sensitivity,
        write_artifact,
        measure_accuracy,
        measure_agreement,
        time_pair,
        drop_interval,
    ),
    *(build_plan, pipeline.build),
]
MODULES = sorted({producer.__module__ for producer in PRODUCERS})
YAML = """
name: mine
task: detection
input: {{name: images, dims: [3, {size}, {size}]}}
preprocess: [{{op: letterbox, size: [{size}, {size}], fill: {fill}}}, {{op: rgb}}, {{op: normalize}}, {{op: chw}}]
postprocess: [{{op: yolo_head}}, {{op: nms, score_threshold: {threshold}}}]
"""


def owners(holder: str, value: object) -> set[str]:
    """The modules that a value of a module's comes from; a package holds its modules without using them."""
    if isinstance(value, ModuleType):
        return set() if value.__name__.startswith(f"{holder}.") else {value.__name__}
    if isinstance(value, type | FunctionType):
        return {value.__module__}
    return {type(value).__module__}


@pytest.mark.parametrize("module", MODULES)
def test_no_module_that_takes_part_is_left_out(module: str) -> None:
    """Found another way than by reading imports: by where the values come from that a loaded module holds."""
    closure = cache_key.sources().closure(module)
    for name in closure & set(sys.modules):
        used = {owner for value in vars(sys.modules[name]).values() for owner in owners(name, value)}
        assert {owner for owner in used if owner.split(".")[0] in OURS} <= closure, name


def test_a_module_that_is_loaded_when_it_is_called_takes_part() -> None:
    closure = cache_key.sources().closure("qtriton.cli.build")
    assert {"qtriton.builder.pipeline", "qtriton.compress.worker", "qtriton.quantize.qdq"} <= closure


def test_an_engine_that_is_named_as_a_file_takes_part() -> None:
    closure = cache_key.sources().closure(time_pair.__module__)
    engines = {f"qtriton.backends.{name}.engine" for name in ("onnxruntime", "openvino", "paddle", "tensorrt")}
    assert {*engines, "qtriton.backends.tensorrt.cpu_fallback"} <= closure


@pytest.mark.parametrize("module", MODULES)
def test_how_work_is_shown_does_not_take_part(module: str) -> None:
    closure = cache_key.sources().closure(module)
    assert not {name for name in closure if name.startswith(("qtriton.cli", "qtriton.console", "qtriton.report"))}


def test_the_packages_are_those_that_the_code_uses() -> None:
    assert {"paddlepaddle", "paddleslim", "x2paddle", "onnx"} <= cache_key.package_versions(
        "qtriton.compress.act"
    ).keys()
    assert "openvino" in cache_key.package_versions(time_pair.__module__)
    scenes = cache_key.package_versions("qtriton.demo.scenes")
    assert any(name.startswith("opencv-python") for name in scenes) and "paddlepaddle" not in scenes


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The code of this installation, to be changed."""
    folder = tmp_path_factory.mktemp("code")
    origins = {"qtriton": qtriton.__file__, "qtriton_client": qtriton_client.__file__}
    for name, origin in origins.items():
        assert origin is not None
        shutil.copytree(Path(origin).parent, folder / name, ignore=shutil.ignore_patterns("__pycache__", "zoo"))
    return {name: folder / name for name in origins}


def file_of(copy: dict[str, Path], module: str) -> Path:
    package, *parts = module.split(".")
    place = copy[package].joinpath(*parts)
    return place / "__init__.py" if place.is_dir() else place.with_suffix(".py")


def test_a_change_of_any_module_that_takes_part_changes_the_key_and_no_other_does(copy: dict[str, Path]) -> None:
    before = Sources(copy)
    keys = {module: before.code_sha256(module) for module in MODULES}
    closures = {module: before.closure(module) for module in MODULES}
    for name in sorted({*set().union(*closures.values()), "qtriton.console", "qtriton.report.tables"}):
        path = file_of(copy, name)
        text = path.read_text()
        path.write_text(f"{text}\nCHANGED = 1\n")
        now = Sources(copy)
        for module in MODULES:
            assert (now.code_sha256(module) != keys[module]) is (name in closures[module]), (module, name)
        path.write_text(text)


@pytest.mark.parametrize(
    ("before", "after", "same"),
    [
        ('"""One."""\nx = 1', '"""Another."""\nx = 1', True),
        ("x = 1", "x = 1  # a comment", True),
        ("def f():\n    '''Doc.'''\n    return 1", "def f():\n\n    return 1", True),
        ("raise ValueError('one')", "raise ValueError('another')", True),
        ("raise ValueError('one')", "raise TypeError('one')", False),
        ("reporter.warn(f'{x} one')", "reporter.warn(f'{x} another')", True),
        ("with reporter.progress('one') as p: f(p)", "with reporter.progress('two') as p: f(p)", True),
        ("with reporter.progress('one') as p: f(p)", "with reporter.progress('one') as p: g(p)", False),
        ("x = 'one'", "x = 'two'", False),
        ("DEFAULT = 0.5", "DEFAULT = 0.6", False),
    ],
)
def test_what_is_only_said_to_people_does_not_count(before: str, after: str, same: bool, tmp_path: Path) -> None:
    digests = []
    for text in (before, after):
        (tmp_path / "__init__.py").write_text(text)
        digests.append(Sources({"pack": tmp_path}).code_sha256("pack"))
    assert (digests[0] == digests[1]) is same


def test_what_only_the_type_checker_imports_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "__init__.py").write_text("")
    (tmp_path / "a.py").write_text(
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from pack import b\nelse:\n    from . import c\n"
    )
    for name in "bc":
        (tmp_path / f"{name}.py").write_text("import numpy")
    sources = Sources({"pack": tmp_path})
    assert sources.closure("pack.a") == {"pack", "pack.a", "pack.c"}
    assert sources.packages("pack.a") == {"numpy"}


def spec(size: int = 64, fill: int = 114, threshold: float = 0.25) -> ModelSpec:
    return parse_spec(YAML.format(size=size, fill=fill, threshold=threshold), "mine.yaml")


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    """A model and a folder of calibration images; a key looks at bytes only."""
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.jpg").write_bytes(b"one")
    (tmp_path / "model.onnx").write_bytes(b"weights")
    return tmp_path / "model.onnx", tmp_path / "images"


def scales_key(recipe: Recipe, about: ModelSpec, model: Path, images: Path) -> str:
    plan = Plan(about, Request(), (), ())
    datasets = Datasets(images, None, None)
    context = BuildContext(plan, Workspace(model.parent), model, datasets, model.parent, SILENT)
    return ArtifactSources(context, recipe).scales_key.digest


def test_scales_outlive_what_happens_behind_the_model(files: tuple[Path, Path]) -> None:
    assert scales_key(Recipe(), spec(), *files) == scales_key(Recipe(), spec(threshold=0.5), *files)
    mixed = Recipe(float_layers=frozenset({"conv"}))
    assert scales_key(Recipe(), spec(), *files) == scales_key(mixed, spec(), *files)


def test_scales_are_learnt_again_for_another_input_model_or_image(files: tuple[Path, Path]) -> None:
    model, images = files
    keys = [scales_key(Recipe(), each, *files) for each in (spec(), spec(size=32), spec(fill=0))]
    keys.append(scales_key(Recipe(algorithm=Algorithm.KL), spec(), *files))
    model.write_bytes(b"other weights")
    keys.append(scales_key(Recipe(), spec(), *files))
    (images / "b.jpg").write_bytes(b"two")
    keys.append(scales_key(Recipe(), spec(), *files))
    assert len(set(keys)) == len(keys)


def test_a_key_tells_names_inputs_and_producers_apart() -> None:
    keys = [
        StageKey("a", (1,), unpack),
        StageKey("b", (1,), unpack),
        StageKey("a", (2,), unpack),
        StageKey("a", (1,), write_dataset),
    ]
    assert len({key.digest for key in keys}) == len(keys)
    assert StageKey("a", (1,), unpack).digest == keys[0].digest


def test_every_file_that_is_shipped_is_a_part_of_the_key() -> None:
    from qtriton.repository.steps import shipped_sha256

    assert shipped_sha256().keys() == {path.name for path in resources.runtime().glob("*.py")} - {"__init__.py"}
