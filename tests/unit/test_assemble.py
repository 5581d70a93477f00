"""What is published: variants beside one another, stale ones taken out, others' models kept, nothing unchecked."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import onnx
import pytest
from onnx import TensorProto, helper

from qtriton.backends.base import Moves
from qtriton.backends.runner import Signature, TensorInfo
from qtriton.backends.tensorrt.recipe import engine_recipe
from qtriton.builder.assemble import publish
from qtriton.builder.variant import Variant, shares
from qtriton.errors import RepositoryError
from qtriton.evidence import Verdict
from qtriton.options import BuildOptions
from qtriton.placement.placed import Placed
from qtriton.placement.split import prologue_of
from qtriton.plan import Plan
from qtriton.progress import SILENT
from qtriton.repository import check
from qtriton.repository.manifest import Evidence, File, Gate, Manifest, Metric
from qtriton.repository.naming import Names
from qtriton.repository.read import Repository
from qtriton.repository.record import PublishRecord, read_record
from qtriton.repository.render import parse_config
from qtriton.request import Request
from qtriton.spec import ModelSpec
from qtriton.spec_files import parse_spec
from qtriton.target import Precision, Target
from qtriton.workspace import sha256_file
from qtriton_client.codec import decode
from qtriton_client.results import AccuracyDrop

SPEC = """
name: ten
task: classification
input: {name: image, dims: [3, 8, 8]}
preprocess: [{op: resize, size: [8, 8]}, {op: rgb}, {op: normalize}, {op: chw}]
postprocess: [{op: softmax}, {op: top_k, k: 3}]
"""
FP32 = Target("onnxruntime", Precision.FP32)
INT8 = Target("onnxruntime", Precision.INT8)


class Warnings:
    """Keeps what the user is warned of."""

    def __init__(self) -> None:
        self.messages: list[str] = []
        self.progress = SILENT.progress

    def warn(self, message: str, /) -> None:
        self.messages.append(message)


class World:
    """A model whose variants can be published into a repository."""

    def __init__(self, home: Path, more: str = "") -> None:
        self.home, self.repository, self.warnings = home, home / "repository", Warnings()
        self.spec: ModelSpec = parse_spec(SPEC + more, "ten.yaml")
        self.batch: str | int = "batch" if self.spec.max_batch_size else 1
        self.fp32 = self.write(home / "fp32.onnx")

    def write(self, path: Path, image: str = "image", scores: str = "scores", size: int | str = 5) -> Path:
        """A network of one operation; `size` is the number of classes."""
        shapes = [self.batch, 3, 8, 8], [self.batch, size]
        nodes = [
            helper.make_node("ReduceMean", [image], ["mean"], axes=[1, 2, 3], keepdims=0),
            helper.make_node("Unsqueeze", ["mean", "axes"], ["column"]),
            helper.make_node("Expand", ["column", "shape"], [scores]),
        ]
        constants = [
            helper.make_tensor("axes", TensorProto.INT64, [1], [1]),
            helper.make_tensor("shape", TensorProto.INT64, [2], [1, 5]),
        ]
        graph = helper.make_graph(
            nodes,
            "g",
            [helper.make_tensor_value_info(image, TensorProto.FLOAT, shapes[0])],
            [helper.make_tensor_value_info(scores, TensorProto.FLOAT, shapes[1])],
            constants,
        )
        onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), str(path))
        return path

    def variant(
        self,
        target: Target,
        key: str = "spec 1",
        image: str = "image",
        scores: str = "scores",
        batch: int = -1,
        instances: int = 1,
        *,
        pixels: bool = False,
    ) -> Variant:
        """A variant of the network; with pixels, its graph normalises them."""
        where = Placed.of(self.spec, prologue_of(self.spec) if pixels else None, None, Moves(least_saving=0))
        folder = self.home / f"artifact-{target.backend}-{target.precision.value}-{key}{'-pixels' * pixels}"
        folder.mkdir(exist_ok=True)
        path = self.write(folder / "model.onnx", image, scores)
        where.write(path)
        manifest = Manifest(
            model=self.spec.name, title="Ten", backend=target.backend, precision=target.precision, threads=1,
            instances=instances, key=f"{key} {target.precision.value}",
            artifact=File(name="model.onnx", sha256=sha256_file(path)),
            source=File(name="w.onnx", sha256="0" * 64), licence="none",
            metric=Metric(name="Top1", value=75.0, images=4), placement=shares(where),
        )  # fmt: skip
        batch = batch if self.spec.max_batch_size else 1
        fed = TensorInfo(image, "UINT8" if pixels else "FP32", (batch, *where.spec.fed[0]))
        signature = Signature((fed,), (TensorInfo(scores, "FP32", (batch, 5)),))
        record = PublishRecord(self.spec.name, key, manifest.key)
        return Variant(target, folder, None, signature, manifest, record, where, self.spec.max_batch_size)

    def publish(self, *variants: Variant, fp32: Path | None = None) -> None:
        options = BuildOptions(
            backend="onnxruntime",
            precision=variants[-1].target.precision,
            repository=self.repository,
            instances=variants[-1].manifest.instances,
        )
        plan = Plan(self.spec, Request(options), tuple(each.target for each in variants), ())
        publish(plan, fp32 or self.fp32, variants, self.warnings)

    def models(self) -> set[str]:
        return {path.name for path in self.repository.iterdir()} if self.repository.exists() else set()

    def config(self, name: str) -> Any:
        return parse_config((self.repository / name / "config.pbtxt").read_text(), name)

    def instances(self, *names: str) -> list[int]:
        return [group.count for name in names for group in self.config(f"ten_{name}").instance_group]


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def folders(*targets: Target) -> set[str]:
    return {name for target in targets for name in Names.of("ten", target).all}


def problems(repository: Path) -> Sequence[object]:
    return check.check(repository)


def content(repository: Path) -> dict[str, bytes]:
    return {str(p.relative_to(repository)): p.read_bytes() for p in sorted(repository.rglob("*")) if p.is_file()}


def test_variants_share_their_steps_and_the_whole_passes_the_check(world: World) -> None:
    world.publish(world.variant(FP32), world.variant(INT8))

    assert world.models() == folders(FP32, INT8) and len(world.models()) == 6
    assert list(problems(world.repository)) == []
    assert world.warnings.messages == []
    for target in (FP32, INT8):
        version = world.repository / Names.of("ten", target).runtime / "1"
        assert Manifest.read(version).precision is target.precision
        assert (version / "model.onnx").read_bytes() == (
            world.home / f"artifact-{target.backend}-{target.precision.value}-spec 1" / "model.onnx"
        ).read_bytes()


def test_the_record_says_what_was_published_and_holds_every_file(world: World) -> None:
    world.publish(world.variant(FP32))
    names = Names.of("ten", FP32)
    found = read_record(world.repository / names.ensemble / "1")
    assert found is not None
    record, files = found
    assert record == PublishRecord("ten", "spec 1", "spec 1 fp32")
    assert set(files) == set(content(world.repository)) - {f"{names.ensemble}/1/build.json"}
    assert Repository(world.repository).is_untouched(files)


def test_a_second_variant_is_put_beside_the_first(world: World) -> None:
    world.publish(world.variant(FP32))
    before = content(world.repository)
    world.publish(world.variant(INT8))

    assert world.models() == folders(FP32, INT8)
    own = [name for name in before if name.startswith("ten_onnxruntime_fp32")]
    assert own and all(content(world.repository)[name] == before[name] for name in own)
    assert list(problems(world.repository)) == []


def test_shared_steps_have_as_many_instances_as_the_runtime_that_has_the_most(world: World) -> None:
    """Else the second build would slow down what the first has published."""
    steps = ("preprocess", "postprocess", "onnxruntime_fp32_runtime")
    world.publish(world.variant(FP32, instances=2))
    assert world.instances(*steps) == [2, 2, 2]

    world.publish(world.variant(INT8, instances=3))
    assert world.instances(*steps, "onnxruntime_int8_runtime") == [3, 3, 2, 3]

    world.publish(world.variant(INT8))
    assert world.instances(*steps, "onnxruntime_int8_runtime") == [2, 2, 2, 1]
    assert list(problems(world.repository)) == []


def test_what_was_built_from_another_spec_is_taken_out_and_that_is_said(world: World) -> None:
    """It would be fed by the new preprocessing."""
    world.publish(world.variant(FP32), world.variant(INT8))
    world.publish(world.variant(FP32, key="spec 2"))

    assert world.models() == folders(FP32)
    assert [message.split(" ")[0] for message in world.warnings.messages] == [
        "ten_onnxruntime_fp32",
        "ten_onnxruntime_int8",
    ]
    assert "was built from another spec or other weights" in world.warnings.messages[0]


def test_models_of_others_and_their_mistakes_are_none_of_our_business(world: World) -> None:
    theirs = world.repository / "theirs" / "config.pbtxt"
    theirs.parent.mkdir(parents=True)
    theirs.write_text("this is no config {")
    (world.repository / "README.md").write_text("mine")

    world.publish(world.variant(FP32))

    assert world.models() == {*folders(FP32), "theirs", "README.md"}
    assert theirs.read_text() == "this is no config {"


def test_what_does_not_pass_the_check_is_not_published(world: World, tmp_path: Path) -> None:
    """Of the artifact, other outputs are stated than it has."""
    world.publish(world.variant(FP32))
    before = content(world.repository)
    good = world.variant(INT8)
    world.write(good.artifact / "model.onnx", scores="other")

    with pytest.raises(RepositoryError, match=r"^not published: .*ten_onnxruntime_int8_runtime"):
        world.publish(world.variant(FP32), good)

    assert content(world.repository) == before
    assert sorted(path.name for path in tmp_path.iterdir() if "staging" in path.name) == []


def test_a_file_that_the_artifact_lacks_changes_nothing(world: World) -> None:
    world.publish(world.variant(FP32))
    before = content(world.repository)
    bad = world.variant(INT8)
    (bad.artifact / "model.onnx").unlink()

    with pytest.raises(OSError, match=r"model\.onnx"):
        world.publish(world.variant(FP32), bad)

    assert content(world.repository) == before


def wiring(config: Any) -> dict[str, tuple[dict[str, str], dict[str, str]]]:
    steps = config.ensemble_scheduling.step
    return {step.model_name: (dict(step.input_map), dict(step.output_map)) for step in steps}


def test_tensors_that_a_converter_renamed_are_joined_by_their_place(world: World) -> None:
    world.publish(world.variant(INT8, image="x2paddle_image", scores="softmax_0.tmp_0"))

    runtime = world.config("ten_onnxruntime_int8_runtime")
    assert [port.name for port in runtime.input] == ["x2paddle_image"]
    steps = wiring(world.config("ten_onnxruntime_int8"))
    pre, run, post = (steps[name] for name in ("ten_preprocess", "ten_onnxruntime_int8_runtime", "ten_postprocess"))
    assert run[0]["x2paddle_image"] == pre[1]["image"]
    assert post[0]["scores"] == run[1]["softmax_0.tmp_0"]
    assert post[0]["geometry"] == pre[1]["geometry"]
    assert set(post[1]) == set(post[1].values())


def test_a_result_with_the_name_of_a_raw_output_is_kept_apart_from_it(world: World) -> None:
    world.publish(world.variant(FP32))
    steps = wiring(world.config("ten_onnxruntime_fp32"))
    raw, result = steps["ten_onnxruntime_fp32_runtime"][1]["scores"], steps["ten_postprocess"][1]["scores"]
    assert raw != result == "scores"


@pytest.mark.parametrize(("batch", "most"), [(-1, 8), (1, 1)], ids=["free", "fixed at 1"])
def test_an_artifact_of_one_image_is_served_one_image_at_a_time(world: World, batch: int, most: int) -> None:
    """As its runtime states it; backends that are no ONNX fix it."""
    world.publish(world.variant(INT8, batch=batch))
    for name in ("ten_onnxruntime_int8", "ten_onnxruntime_int8_runtime"):
        assert world.config(name).max_batch_size == most
    assert world.config("ten_preprocess").max_batch_size == 8


@pytest.mark.parametrize(("graphs", "most"), [(False, 8), (True, 1)])
def test_a_cuda_graph_is_served_one_image_at_a_time(world: World, graphs: bool, most: int) -> None:
    """It passes the check, as other models do."""
    target = Target("tensorrt", Precision.FP32, cuda_graphs=graphs)
    variant = world.variant(target)
    engine_recipe(dict(world.spec.inputs), 8, Precision.FP32).save(variant.artifact)
    world.publish(variant)
    for name in ("ten_tensorrt_fp32", "ten_tensorrt_fp32_runtime"):
        assert world.config(name).max_batch_size == most
    assert [spec.batch_size for spec in world.config("ten_tensorrt_fp32_runtime").optimization.cuda.graph_spec] == (
        [1] * graphs
    )
    assert list(problems(world.repository)) == []


def test_a_size_that_the_artifact_fixes_is_stated_as_it_has_it(world: World) -> None:
    free = world.write(world.home / "free.onnx", size="classes")
    world.publish(world.variant(FP32), fp32=free)

    (own,) = world.config("ten_onnxruntime_fp32_runtime").output
    assert list(own.dims) == [5]
    post = world.config("ten_postprocess")
    dims = {port.name: list(port.dims) for port in post.input}
    assert dims["scores"] == [-1], "other variants may have another size"


def test_without_a_batch_every_tensor_has_all_its_sizes(tmp_path: Path) -> None:
    world = World(tmp_path, "max_batch_size: 0\n")
    world.publish(world.variant(FP32))
    pre, run = (world.config(name) for name in ("ten_preprocess", "ten_onnxruntime_fp32_runtime"))
    assert {port.name: list(port.dims) for port in pre.output} == {
        "image": [1, 3, 8, 8],
        "geometry": [1, 6],
    }
    assert [list(port.dims) for port in (*run.input, *run.output)] == [
        [1, 3, 8, 8],
        [1, 5],
    ]
    assert list(problems(world.repository)) == []


def test_a_client_that_only_has_the_address_learns_what_it_needs(tmp_path: Path) -> None:
    world = World(tmp_path, "classes: [äpfel, birnen]\n")
    world.publish(world.variant(FP32), world.variant(INT8))
    parameters = world.config("ten_onnxruntime_int8").parameters

    assert json.loads(parameters["classes"].string_value) == ["äpfel", "birnen"]
    about = json.loads(parameters["qtriton"].string_value)
    assert "drop" not in about, "nothing was compared"
    assert (about["model"], about["task"], about["precision"]) == ("ten", "classification", "int8")
    assert (about["metric"], about["value"], about["fp32_value"]) == ("Top1", 75.0, None)
    assert about["steps"]["runtime"] == "ten_onnxruntime_int8_runtime"


def test_a_client_learns_what_the_gate_found(world: World) -> None:
    sure = Evidence(lower=-0.3, upper=1.2, level=0.97, method="Newcombe", verdict=Verdict.CANNOT_TELL, images_needed=9)
    gate = Gate(budget=0.5, drop=0.25, metric="Top1", images=4, labelled=True, evidence=sure)
    variant = world.variant(INT8)
    variant = replace(variant, manifest=variant.manifest.model_copy(update={"gate": gate}))
    world.publish(world.variant(FP32), variant)
    about = json.loads(world.config("ten_onnxruntime_int8").parameters["qtriton"].string_value)
    assert decode(AccuracyDrop, about["drop"]) == AccuracyDrop(
        0.25, 0.5, "Top1", 4, lower=-0.3, upper=1.2, verdict="cannot tell", images_needed=9
    )


def test_without_class_names_there_is_no_parameter_of_them(world: World) -> None:
    world.publish(world.variant(FP32))
    assert "classes" not in world.config("ten_onnxruntime_fp32").parameters


# Where the operations are.


def steps(repository: Path) -> set[str]:
    return {path.name.removeprefix("ten_") for path in repository.iterdir() if not path.name.startswith("ten_o")}


def test_a_graph_that_normalises_has_a_step_that_gives_pixels(world: World) -> None:
    world.publish(world.variant(FP32, pixels=True), world.variant(INT8, pixels=True))

    assert steps(world.repository) == {"preprocess_pixels", "postprocess"}
    assert list(problems(world.repository)) == []
    (image, geometry) = world.config("ten_preprocess_pixels").output
    assert (image.name, list(image.dims), geometry.name) == ("image", [8, 8, 3], "geometry")
    assert world.config("ten_onnxruntime_fp32_runtime").input[0].data_type == image.data_type == 2  # TYPE_UINT8
    settings = json.loads((world.repository / "ten_preprocess_pixels" / "1" / "spec.json").read_text())
    assert [op["op"] for op in settings["ops"]] == ["resize", "rgb"]
    about = json.loads(world.config("ten_onnxruntime_int8").parameters["qtriton"].string_value)
    assert about["steps"]["preprocess"] == "ten_preprocess_pixels"
    assert set(wiring(world.config("ten_onnxruntime_fp32"))) == {
        "ten_preprocess_pixels",
        "ten_onnxruntime_fp32_runtime",
        "ten_postprocess",
    }


def test_pixels_of_one_image_have_all_their_sizes(tmp_path: Path) -> None:
    world = World(tmp_path, "max_batch_size: 0\n")
    world.publish(world.variant(FP32, pixels=True))
    (image, _) = world.config("ten_preprocess_pixels").output
    assert list(image.dims) == [1, 8, 8, 3]
    assert list(problems(world.repository)) == []


def test_each_variant_has_the_steps_that_go_with_its_graph(world: World) -> None:
    world.publish(world.variant(FP32), world.variant(INT8, pixels=True))
    assert steps(world.repository) == {"preprocess", "preprocess_pixels", "postprocess"}
    assert list(problems(world.repository)) == []
    assert "ten_preprocess" in wiring(world.config("ten_onnxruntime_fp32"))


@pytest.mark.parametrize("pixels", [False, True])
def test_steps_that_no_ensemble_has_any_more_are_removed(world: World, pixels: bool) -> None:
    """As another placement was asked for this time."""
    world.publish(world.variant(FP32, pixels=not pixels))
    world.publish(world.variant(FP32, pixels=pixels))
    assert steps(world.repository) == {"preprocess_pixels" if pixels else "preprocess", "postprocess"}
    assert world.warnings.messages == [] and list(problems(world.repository)) == []


def test_steps_that_another_ensemble_has_are_kept(world: World) -> None:
    """Of an earlier build, as of another backend or precision."""
    world.publish(world.variant(INT8))
    before = content(world.repository)
    world.publish(world.variant(FP32, pixels=True))

    assert steps(world.repository) == {"preprocess", "preprocess_pixels", "postprocess"}
    kept = {name: each for name, each in before.items() if not name.startswith("ten_postprocess")}
    assert kept.items() <= content(world.repository).items()
    assert list(problems(world.repository)) == []

    world.publish(world.variant(INT8, pixels=True))
    assert steps(world.repository) == {"preprocess_pixels", "postprocess"}


def test_steps_that_the_ensemble_of_somebody_else_has_are_kept(world: World) -> None:
    """Which name they have is not ours to judge."""
    world.publish(world.variant(FP32))
    theirs = world.repository / "theirs" / "config.pbtxt"
    theirs.parent.mkdir()
    theirs.write_text((world.repository / "ten_onnxruntime_fp32" / "config.pbtxt").read_text().replace(
        'name: "ten_onnxruntime_fp32"', 'name: "theirs"'
    ))  # fmt: skip
    world.publish(world.variant(FP32, pixels=True))
    assert steps(world.repository) - {"theirs"} == {"preprocess", "preprocess_pixels", "postprocess"}
