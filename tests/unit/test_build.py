"""A build from its plan to its repository: what it says when it is interrupted, and which error it ends with.

Everything is real but the runtimes, which would be processes.
"""

import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import cv2
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from qtriton import cli
from qtriton.backends.runner import Signature, TensorInfo
from qtriton.builder import artifact as artifacts
from qtriton.builder import assemble, pipeline
from qtriton.builder.artifact import Artifact
from qtriton.builder.context import BuildContext
from qtriton.builder.pipeline import build
from qtriton.builder.search import SearchResult
from qtriton.builder.sources import Sources
from qtriton.builder.trial import fitted
from qtriton.builder.variant import Variant, fp32_variant
from qtriton.errors import (
    AccuracyBudgetError,
    ArtifactLoadError,
    CompressionError,
    ConversionError,
    ExitCode,
    InputError,
    ModelError,
    QtritonError,
    RepositoryError,
    SetupError,
    UnsupportedError,
)
from qtriton.options import BuildOptions
from qtriton.plan import Plan, make_plan
from qtriton.progress import SILENT, Progress
from qtriton.repository.record import PublishRecord
from qtriton.repository.staging import Staging
from qtriton.request import Request
from qtriton.spec_files import load_spec
from qtriton.target import Precision, Target
from qtriton.workspace import Workspace

SPEC = """
name: ten
task: classification
input: {name: image, dims: [3, 8, 8]}
preprocess: [{op: resize, size: [8, 8]}, {op: rgb}, {op: normalize}, {op: chw}]
postprocess: [{op: softmax}, {op: top_k, k: 3}]
"""
#: Of a graph that normalises the pixels itself, as is the default.
SIGNATURE = Signature((TensorInfo("image", "UINT8", (-1, 8, 8, 3)),), (TensorInfo("scores", "FP32", (-1, 3)),))
ENSEMBLE = {"ten_onnxruntime_fp32", "ten_onnxruntime_fp32_runtime", "ten_preprocess_pixels", "ten_postprocess"}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder: a spec, its weights and calibration images."""
    monkeypatch.chdir(tmp_path)
    Path("ten.yaml").write_text(SPEC)
    graph = helper.make_graph(
        [helper.make_node("ReduceMean", ["image"], ["scores"], axes=[2, 3], keepdims=0)],
        "g",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 3, 8, 8])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["batch", 3])],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), "ten.onnx")
    Path("images").mkdir()
    for grey in range(2):
        cv2.imwrite(f"images/{grey}.png", np.full((9, 9, 3), grey, np.uint8))
    return tmp_path


@pytest.fixture(autouse=True)
def no_runtime(monkeypatch: pytest.MonkeyPatch) -> None:
    """The runtimes are processes; this one takes every model."""

    @contextmanager
    def running(target: Target, path: Path) -> Iterator[Signature]:
        assert path.is_file()
        yield SIGNATURE

    monkeypatch.setattr(artifacts, "running", running)
    monkeypatch.setattr(pipeline, "fitted", lambda context: context)
    monkeypatch.setattr(pipeline, "learning_ahead", nullcontext)
    monkeypatch.setattr(pipeline, "try_artifact", lambda context, _: context.spec.max_batch_size)


def plan(**options: Any) -> Plan:
    chosen = {"precision": Precision.FP32, "backend": "onnxruntime", "repository": Path("repository"), **options}
    return make_plan(load_spec("./ten.yaml"), Request(BuildOptions(weights=Path("ten.onnx"), **chosen)), None)


def models(repository: Path = Path("repository")) -> set[str]:
    return {path.name for path in repository.iterdir()} if repository.exists() else set()


def interrupt(*_: object, **__: object) -> NoReturn:
    raise KeyboardInterrupt


def test_a_release_is_not_built_into(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would be served, and told with every answer, under the name of what it was; nothing is made for it."""
    Path("repository").mkdir()
    Path("repository/RELEASE.json").write_text("{}")
    monkeypatch.setattr(pipeline, "fetch", lambda *_: pytest.fail("work was done"))
    with pytest.raises(RepositoryError, match=r"repository: a release, which never changes .*or name another folder"):
        build(plan(), Workspace(home / "cache"))
    assert models() == {"RELEASE.json"}


def test_a_build_publishes_and_the_same_again_does_nothing(home: Path) -> None:
    first, second = (build(plan(), Workspace(home / "cache")) for _ in range(2))
    assert (first.changed, second.changed) == (True, False)
    assert models() == ENSEMBLE
    assert [target for target, _ in first.variants] == [target for target, _ in second.variants]


def test_another_number_of_instances_is_published_again(home: Path) -> None:
    numbers = (1, 2, 2, 1)
    results = [build(plan(instances=number), Workspace(home / "cache")) for number in numbers]
    assert [result.changed for result in results] == [True, True, False, True]
    assert [result.variants[0][1].instances for result in results] == list(numbers)


def test_with_cuda_graphs_it_is_published_again(home: Path) -> None:
    graphs = (False, True, True, False)
    results = [build(plan(backend="tensorrt", cuda_graphs=each), Workspace(home / "cache")) for each in graphs]
    assert [result.changed for result in results] == [True, True, False, True]
    assert [result.variants[0][1].cuda_graphs for result in results] == list(graphs)


def test_cuda_graphs_need_a_batch(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether the spec says that there is none, or the build finds it out."""
    told = r"^--cuda-graphs: ten has no batch \(max_batch_size 0\), so Triton would never run its graph\."
    monkeypatch.setattr(pipeline, "fitted", fitted)
    monkeypatch.setattr(Sources, "max_batch", lambda _: 0)
    with pytest.raises(InputError, match=told):
        build(plan(backend="tensorrt", cuda_graphs=True), Workspace(home / "cache"))
    assert models() == set()
    Path("ten.yaml").write_text(f"{SPEC}max_batch_size: 0\n")
    plan(backend="tensorrt")
    with pytest.raises(InputError, match=told):
        plan(backend="tensorrt", cuda_graphs=True)


@pytest.mark.parametrize("number", [0, -1])
def test_less_than_one_instance_is_refused(home: Path, number: int) -> None:
    with pytest.raises(InputError, match=rf"^--instances {number}: at least 1\.$"):
        plan(instances=number)


# The words after Ctrl-C.


@pytest.mark.parametrize("step", ["fetch", "resolve_datasets", "_record", "make_artifact", "fp32_variant", "publish"])
def test_interrupted_before_the_swap_nothing_was_published(
    home: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    monkeypatch.setattr(pipeline, step, interrupt)
    with pytest.raises(KeyboardInterrupt, match=r"^nothing was published$"):
        build(plan(), Workspace(home / "cache"))
    assert models() == set()


@pytest.mark.parametrize("step", ["_write_steps", "_write_variant", "write_record", "check"])
def test_interrupted_while_it_writes_nothing_was_published(
    home: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    monkeypatch.setattr(assemble, step, interrupt)
    with pytest.raises(KeyboardInterrupt, match=r"^nothing was published$"):
        build(plan(), Workspace(home / "cache"))
    assert models() == set()


def test_interrupted_when_it_was_up_to_date_nothing_was_published(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build(plan(), Workspace(home / "cache"))
    monkeypatch.setattr(pipeline, "_current", interrupt)
    with pytest.raises(KeyboardInterrupt, match=r"^nothing was published$"):
        build(plan(), Workspace(home / "cache"))


def test_interrupted_right_behind_the_swap_everything_was_published(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = Staging.commit

    def interrupted(staging: Staging) -> None:
        commit(staging)
        raise KeyboardInterrupt

    monkeypatch.setattr(Staging, "commit", interrupted)
    with pytest.raises(KeyboardInterrupt, match=r"^everything was published$"):
        build(plan(), Workspace(home / "cache"))
    assert models() == ENSEMBLE


def test_interrupted_while_the_old_repository_is_removed_everything_was_published(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Gigabytes of old models take their time to go."""
    Path("repository").mkdir()
    rmtree = shutil.rmtree

    def interrupted(path: Path, *arguments: Any, **keywords: Any) -> None:
        if ".staging-" in str(path):
            raise KeyboardInterrupt
        rmtree(path, *arguments, **keywords)

    monkeypatch.setattr(shutil, "rmtree", interrupted)
    with pytest.raises(KeyboardInterrupt, match=r"^everything was published$"):
        build(plan(), Workspace(home / "cache"))
    assert models() == ENSEMBLE


def test_interrupted_while_the_bar_is_drawn_to_its_end_everything_was_published(home: Path) -> None:
    class Bars:
        @contextmanager
        def progress(self, label: str, /) -> Iterator[Progress]:
            yield lambda done, total: None
            if label.endswith(": publish"):
                raise KeyboardInterrupt

        def warn(self, message: str, /) -> None:
            raise AssertionError(message)

    with pytest.raises(KeyboardInterrupt, match=r"^everything was published$"):
        build(plan(), Workspace(home / "cache"), Bars())
    assert models() == ENSEMBLE


def test_interrupted_while_the_scratch_folder_is_removed_everything_was_published(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rmtree = shutil.rmtree

    def interrupted(path: Path, *arguments: Any, **keywords: Any) -> None:
        if Path(path).parent.name == "scratch":
            raise KeyboardInterrupt
        rmtree(path, *arguments, **keywords)

    monkeypatch.setattr(shutil, "rmtree", interrupted)
    with pytest.raises(KeyboardInterrupt, match=r"^everything was published$"):
        build(plan(), Workspace(home / "cache"))
    assert models() == ENSEMBLE


def said(command: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> str:
    """What the program says before it ends as one that was interrupted."""
    monkeypatch.setattr(sys, "argv", ["qtriton", *command])
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert end.value.code == ExitCode.INTERRUPTED
    return capsys.readouterr().err.strip()


def test_an_interrupted_build_says_what_became_of_the_repository(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("QTRITON_CACHE", str(home / "cache"))
    command = ["build", "ten.yaml", "--weights", "ten.onnx", "--precision", "fp32", "--repository", "repository"]
    with monkeypatch.context() as patch:
        patch.setattr(pipeline, "fetch", interrupt)
        assert said(command, patch, capsys) == "error: interrupted; nothing was published."
    with monkeypatch.context() as patch:
        patch.setattr(pipeline, "BuildResult", interrupt)
        assert said(command, patch, capsys).endswith("error: interrupted; everything was published.")


def test_where_a_build_ended_before_its_time_that_is_told_too(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("QTRITON_CACHE", str(home / "cache"))
    monkeypatch.setattr(pipeline, "publish", interrupt)
    command = ["build", "ten.yaml", "--weights", "ten.onnx", "--precision", "fp32", "--timings"]
    monkeypatch.setattr(sys, "argv", ["qtriton", *command])
    with pytest.raises(SystemExit):
        cli.main()
    table = capsys.readouterr().out
    assert "ten-fp32" in table and "ten-published" in table


@pytest.mark.parametrize(
    ("step", "command"),
    [
        ("qtriton.api.make_plan", ["build", "ten.yaml", "--weights", "ten.onnx", "--precision", "fp32"]),
        ("qtriton.api.make_plan", ["plan", "ten.yaml", "--weights", "ten.onnx", "--precision", "fp32"]),
        ("qtriton.operate.predict.predict_repository", ["predict", "ten", "images/0.png"]),
        ("qtriton.workspace.Workspace.default", ["cache", "list"]),
    ],
    ids=["build before it starts", "plan", "predict", "cache list"],
)
def test_where_nothing_could_have_been_published_nothing_is_said_of_it(
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    step: str,
    command: list[str],
) -> None:
    monkeypatch.setattr(step, interrupt)
    assert said(command, monkeypatch, capsys) == "error: interrupted."


# Which error it ends with, where several backends were asked for.


class Backends:
    """Says of each backend what its FP32 and its INT8 end with; what is not named works."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, **errors: QtritonError) -> None:
        self.errors = errors
        for name in ("make_artifact", "search", "compressed_variant", "publish"):
            monkeypatch.setattr(pipeline, name, getattr(self, name))
        self.published: list[str] = []
        self.asked: list[str] = []

    def _ask(self, target: Target) -> None:
        name = f"{target.backend}_{target.precision.value}"
        self.asked.append(name)
        if name in self.errors:
            raise self.errors[name]

    def make_artifact(self, sources: Sources, target: Target) -> Artifact:
        self._ask(target)
        return artifacts.make_artifact(sources, target)

    def search(self, sources: Sources, target: Target, fp32: Artifact) -> SearchResult:
        assert fp32.target.backend == target.backend
        self._ask(target)
        return fp32  # type: ignore[return-value]  # it is only handed on

    def compressed_variant(
        self, context: BuildContext, result: Artifact, record: PublishRecord, max_batch: int
    ) -> Variant:
        made = fp32_variant(context, result, record, max_batch)
        return replace(made, target=Target(result.target.backend, Precision.INT8))

    def publish(self, plan: Plan, fp32: Path, variants: tuple[Variant, ...], reporter: object) -> None:
        self.published = [f"{each.target.backend}_{each.target.precision.value}" for each in variants]


class Warnings:
    """Keeps what the user is warned of."""

    def __init__(self) -> None:
        self.messages: list[str] = []
        self.progress = SILENT.progress

    def warn(self, message: str, /) -> None:
        self.messages.append(message)


REFUSED = ArtifactLoadError("ten: the runtime cannot load it.")
OVER = AccuracyBudgetError("ten: the best drops 3.0 points.")
NOTHING_FOUND = InputError("ten: FP32 finds nothing in 2 images.")
NO_IMPORT = ConversionError("x2paddle cannot convert Einsum (node mix).")


def int8(backend: str = "onnxruntime,openvino") -> Plan:
    return plan(precision=Precision.INT8, backend=backend, calibration=Path("images"), few_images=True)


def error_of(home: Path, warnings: Warnings, backend: str = "onnxruntime,openvino") -> QtritonError:
    with pytest.raises(QtritonError) as caught:
        build(int8(backend), Workspace(home / "cache"), warnings)
    return caught.value


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_where_every_runtime_refuses_to_load_the_error_is_not_that_of_the_budget(
    home: Path, monkeypatch: pytest.MonkeyPatch, precision: str
) -> None:
    errors = {f"{each}_{precision}": REFUSED for each in ("onnxruntime", "openvino")}
    backends, warnings = Backends(monkeypatch, **errors), Warnings()

    error = error_of(home, warnings)

    assert type(error) is ArtifactLoadError and error.exit_code == ExitCode.MODEL
    assert str(error).startswith("ten: no backend can load the model.") and "budget" not in str(error)
    assert warnings.messages == [str(REFUSED)] * 2, "each backend says once why"
    assert backends.published == []


def test_int8_of_a_backend_that_does_not_load_fp32_is_not_tried(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    backends = Backends(monkeypatch, onnxruntime_fp32=REFUSED)

    result = build(int8(), Workspace(home / "cache"), Warnings())

    assert backends.asked == ["onnxruntime_fp32", "openvino_fp32", "openvino_int8"]
    assert backends.published == ["openvino_fp32", "openvino_int8"]
    left_out = [(each.target.backend, each.target.precision.value, each.error) for each in result.left_out]
    assert left_out == [("onnxruntime", "fp32", REFUSED), ("onnxruntime", "int8", REFUSED)]


def test_whatever_one_backend_fails_with_the_others_are_published(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    backends, warnings = Backends(monkeypatch, openvino_fp32=NO_IMPORT, onnxruntime_int8=OVER), Warnings()

    error = error_of(home, warnings)

    assert type(error) is AccuracyBudgetError, "INT8 was asked for, and there is none"
    assert warnings.messages == [str(OVER), str(NO_IMPORT)]

    backends = Backends(monkeypatch, openvino_fp32=NO_IMPORT)
    result = build(int8(), Workspace(home / "cache"), warnings)

    assert backends.published == ["onnxruntime_fp32", "onnxruntime_int8"]
    assert [each.error for each in result.left_out] == [NO_IMPORT, NO_IMPORT]


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_what_is_wrong_with_the_users_data_ends_the_build_at_once(
    home: Path, monkeypatch: pytest.MonkeyPatch, precision: str
) -> None:
    """No backend is at fault, so the others need not be asked, and it is said once."""
    errors = {f"{each}_{precision}": NOTHING_FOUND for each in ("onnxruntime", "openvino")}
    backends, warnings = Backends(monkeypatch, **errors), Warnings()

    assert error_of(home, warnings) is NOTHING_FOUND
    assert warnings.messages == []
    assert backends.asked[-1] == f"onnxruntime_{precision}"


def test_where_another_backend_takes_the_data_they_are_not_at_fault(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backends, warnings = Backends(monkeypatch, openvino_fp32=NOTHING_FOUND), Warnings()

    build(int8(), Workspace(home / "cache"), warnings)

    assert backends.published == ["onnxruntime_fp32", "onnxruntime_int8"]
    assert warnings.messages == [str(NOTHING_FOUND)]


def test_where_every_backend_fails_the_same_way_that_is_the_error(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Backends(monkeypatch, openvino_int8=NO_IMPORT, onnxruntime_int8=NO_IMPORT)

    assert error_of(home, Warnings()) is NO_IMPORT


def test_where_every_int8_is_over_the_budget_fp32_alone_is_not_published(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backends, warnings = Backends(monkeypatch, onnxruntime_int8=OVER, openvino_int8=OVER), Warnings()

    error = error_of(home, warnings)

    assert type(error) is AccuracyBudgetError and error.exit_code == ExitCode.COMPRESSION
    assert "no backend stays within the accuracy budget" in str(error)
    assert warnings.messages == [str(OVER)] * 2 and backends.published == []


def test_one_over_the_budget_beside_one_that_does_not_load_is_an_error_of_the_budget(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is what the user can do something about."""
    Backends(monkeypatch, onnxruntime_int8=OVER, openvino_fp32=REFUSED)
    assert type(error_of(home, Warnings())) is AccuracyBudgetError


@pytest.mark.parametrize("kind", [CompressionError, ModelError, UnsupportedError, SetupError])
def test_one_backend_that_cannot_be_made_leaves_the_others(
    home: Path, monkeypatch: pytest.MonkeyPatch, kind: type[QtritonError]
) -> None:
    backends, warnings = Backends(monkeypatch, onnxruntime_fp32=kind("x2paddle has no Asinh.")), Warnings()

    result = build(int8(), Workspace(home / "cache"), warnings)

    assert backends.published == ["openvino_fp32", "openvino_int8"] and len(result.left_out) == 2
    assert warnings.messages == ["x2paddle has no Asinh."]


def test_where_no_backend_can_be_made_the_error_is_the_reason(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refusal = CompressionError("x2paddle has no Asinh.")
    Backends(monkeypatch, onnxruntime_fp32=refusal, openvino_int8=refusal)
    error = error_of(home, Warnings())
    assert error is refusal


def test_one_backend_within_the_budget_is_enough(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    backends, warnings = Backends(monkeypatch, onnxruntime_int8=OVER), Warnings()

    result = build(int8(), Workspace(home / "cache"), warnings)

    assert backends.published == ["onnxruntime_fp32", "openvino_fp32", "openvino_int8"]
    assert [each.error for each in result.left_out] == [OVER] and warnings.messages == [str(OVER)]


@pytest.mark.parametrize(("name", "error"), [("onnxruntime_fp32", REFUSED), ("onnxruntime_int8", OVER)])
def test_of_a_single_backend_the_error_is_its_own(
    home: Path, monkeypatch: pytest.MonkeyPatch, name: str, error: QtritonError
) -> None:
    Backends(monkeypatch, **{name: error})
    warnings = Warnings()
    assert error_of(home, warnings, "onnxruntime") is error
    assert warnings.messages == [], "it would be said twice"
