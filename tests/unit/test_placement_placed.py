"""A model whose graph has a part of the steps' work: what it is written as, and that the results are the same."""

from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

import numpy as np
import onnx
import pytest

from qtriton.backends import BACKENDS, backend_for
from qtriton.backends.base import Moves
from qtriton.builder.placing import placed
from qtriton.errors import InputError, ModelError, UnsupportedError
from qtriton.options import BuildOptions, Placement
from qtriton.placement.placed import Placed
from qtriton.placement.selection import RowSelection
from qtriton.placement.split import epilogue_of, prologue_of
from qtriton.plan import make_plan
from qtriton.request import Request
from qtriton.runtime.post import postprocess
from qtriton.runtime.pre import Geometry
from qtriton.runtime.values import Results
from qtriton.spec import ModelSpec
from qtriton.spec_files import load_spec, parse_spec
from qtriton.target import Precision, Target

from .nets import Array, Net, run, yolov5

MOVES: Final = Moves(least_saving=0)
GEOMETRY: Final = Geometry(480, 640, 1.0, 1.0, 0.0, 80.0)


def detector(head: str = "yolo_head", nms: str = "", size: str = "[64, 96]", more: str = "") -> ModelSpec:
    return parse_spec(
        f"""
name: m
task: detection
input: {{name: images, dims: [3, {size[1:]}}}
preprocess: [{{op: letterbox, size: {size}}}, {{op: rgb}}, {{op: normalize}}, {{op: chw}}]
postprocess: [{{op: {head}}}, {{op: nms{nms}}}]
{more}""",
        "m.yaml",
    )


# What is written.


def moved(spec: ModelSpec, rows: int = 378) -> Placed:
    return Placed.of(spec, prologue_of(spec), epilogue_of(spec, (-1, rows, 13), "FP32"), MOVES)


def feed_of(pixels: Array, *, floats: bool) -> Array:
    return (pixels.astype(np.float32) / 255).transpose(0, 3, 1, 2) if floats else pixels


@pytest.mark.parametrize("opset", [11, 12, 13, 15, 17, 18, 20])
@pytest.mark.parametrize("free", [True, False], ids=["free batch", "batch of 1"])
def test_a_file_of_whatever_opset(tmp_path: Path, opset: int, free: bool) -> None:
    """An old one is raised to 13; what it gives is the best rows of what it gave, of pixels."""
    (model, _), path = yolov5(opset=opset, free=free, image="images"), tmp_path / "model.onnx"
    onnx.save(model, str(path))
    where = moved(detector(nms=", candidates: 40"))
    where.write(path)
    written = onnx.load(str(path))
    assert max(each.version for each in written.opset_import) == max(opset, 13)
    pixels = np.random.default_rng(5).integers(0, 256, (2 if free else 1, 64, 96, 3), np.uint8)
    (whole,) = run(model, {"images": feed_of(pixels, floats=True)})
    (rows,) = run(written, {"images": pixels})
    order = np.argsort(-whole[..., 4] * whole[..., 5:].max(2), axis=1, kind="stable")[:, :40]
    np.testing.assert_allclose(rows, np.take_along_axis(whole, order[..., np.newaxis], 1), rtol=1e-4, atol=1e-4)


def test_the_only_input_may_have_any_name(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    onnx.save(yolov5(image="image_of_another_name")[0], str(path))
    moved(detector(nms=", candidates: 40")).write(path)
    (value,) = onnx.load(str(path)).graph.input
    assert value.name == "image_of_another_name" and value.type.tensor_type.elem_type == onnx.TensorProto.UINT8


def test_constants_that_an_old_file_lists_as_inputs(tmp_path: Path) -> None:
    """They need not be fed: in files before IR version 4 each constant was an input too."""
    (model, _), path = yolov5(opset=11, image="images"), tmp_path / "model.onnx"
    model.ir_version = 3
    for tensor in model.graph.initializer:
        kind = onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, list(tensor.dims))
        model.graph.input.append(kind)
    onnx.save(model, str(path))
    moved(detector(nms=", candidates: 40")).write(path)
    written = onnx.load(str(path))
    assert [value.name for value in written.graph.input] == ["images"]
    (rows,) = run(written, {"images": np.zeros((1, 64, 96, 3), np.uint8)})
    assert rows.shape == (1, 40, 13)


def test_where_nothing_moves_the_file_stays_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"not even a model")
    Placed(detector()).write(path)
    assert path.read_bytes() == b"not even a model"


def test_what_cannot_be_brought_into_a_newer_opset_is_refused(tmp_path: Path) -> None:
    net = Net(1)
    net.add("Pad", "x", name="y", paddings=[0] * 8)
    path = tmp_path / "model.onnx"
    onnx.save(net.model({"x": ["batch", 3, 8, 8]}, {"y": ["batch", 3, 8, 8]}), str(path))
    with pytest.raises(ModelError, match=r"^m: its opset cannot be raised to 13.*--placement steps"):
        moved(detector()).write(path)


# Where a build has it.


def asked(
    spec: ModelSpec, home: Path, shape: tuple[int | str, ...], placement: Placement, backend: str = "onnxruntime"
) -> Placed:
    """Where a build has the operations of a model that gives a tensor of this shape."""
    net = Net()
    net.add(
        "Expand", net.add("ReduceMean", "images", axes=[1, 2, 3], keepdims=0), net.constant([1], np.int64), name="y"
    )
    model = net.model({"images": ["batch", *spec.input.dims]}, {"y": ["batch"]})
    model.graph.output[0].CopyFrom(onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, shape))
    path = home / "model.onnx"
    onnx.save(model, str(path))
    context = SimpleNamespace(placements={}, options=BuildOptions(placement=placement))
    sources: Any = SimpleNamespace(spec=spec, context=context, unchanged_onnx=lambda: path)
    where = placed(sources, Target(backend, Precision.FP32))
    assert placed(sources, Target(backend, Precision.INT8)) is where, "whatever the precision"
    return where


YOLOV5N: Final = ("batch", 25200, 85)
SMALL: Final = ("batch", 3100, 15)


@pytest.mark.parametrize("backend", BACKENDS)
def test_by_default_what_saves_enough_moves(tmp_path: Path, backend: str) -> None:
    where = asked(load_spec("yolov5n"), tmp_path, YOLOV5N, Placement.AUTO, backend)
    if backend_for(Target(backend, Precision.FP32)).moves is None:
        assert where == Placed(load_spec("yolov5n"))
    else:
        assert where.prologue is not None and where.epilogue is not None
        above = None if backend == "tensorrt" else 0.25
        assert where.epilogue.does == RowSelection(1, 3000, (5, 85), objectness=4, width=85, above=above)


@pytest.mark.parametrize(("placement", "moves"), [(Placement.AUTO, False), (Placement.GRAPH, True)])
def test_what_saves_little_moves_when_it_is_asked_for(tmp_path: Path, placement: Placement, moves: bool) -> None:
    where = asked(detector(), tmp_path, SMALL, placement)
    assert where.prologue is not None, "bytes in the place of floats are always less to copy"
    assert (where.epilogue is not None) is moves


@pytest.mark.parametrize(("rows", "moves"), [(3771, False), (3772, True)])
def test_the_least_saving_is_the_backend_s(tmp_path: Path, rows: int, moves: bool) -> None:
    """3 MiB in ONNX Runtime: of 1020 columns, that many rows are too many."""
    where = asked(detector(), tmp_path, ("batch", rows, 1020), Placement.AUTO)
    assert (where.epilogue is not None) is moves
    assert asked(detector(), tmp_path, ("batch", rows, 1020), Placement.AUTO, "tensorrt").epilogue is not None


def test_in_the_steps_nothing_moves(tmp_path: Path) -> None:
    spec = load_spec("yolov5n")
    assert asked(spec, tmp_path, YOLOV5N, Placement.STEPS) == Placed(spec)


@pytest.mark.parametrize("placement", [Placement.AUTO, Placement.GRAPH])
def test_where_nothing_can_move_only_the_graph_is_refused(tmp_path: Path, placement: Placement) -> None:
    """A spec of floats between the steps, and of a head that stays in the step."""
    spec = load_spec("rfdetr_nano")
    if placement is Placement.AUTO:
        assert asked(spec, tmp_path, ("batch", 300, 91), placement) == Placed(spec)
    else:
        with pytest.raises(UnsupportedError, match=r"^rfdetr_nano: --placement graph: nothing .* Leave the option out"):
            asked(spec, tmp_path, ("batch", 300, 91), placement)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_plan_refuses_the_graph_for_a_runtime_that_takes_nothing(tmp_path: Path, backend: str) -> None:
    weights = tmp_path / "weights.onnx"
    weights.write_bytes(b"")
    options = BuildOptions(
        backend=backend, precision=Precision.FP32, placement=Placement.GRAPH, weights=weights, repository=tmp_path
    )
    if backend_for(Target(backend, Precision.FP32)).moves is not None:
        assert make_plan(load_spec("yolov5n"), Request(options), None).variants
    else:
        with pytest.raises(InputError, match=rf"^--placement graph: nothing moves into what {backend} runs\. Leave"):
            make_plan(load_spec("yolov5n"), Request(options), None)


# The results are the same: the best rows have all that the operation behind looks at.


def results_of(spec: ModelSpec, whole: Array) -> tuple[Results, Results]:
    """The results of a head [A, columns] of one image by the steps, and by its selected rows and the steps behind."""
    epilogue = epilogue_of(spec, (-1, *whole.shape), "FP32")
    assert epilogue is not None and isinstance(epilogue.does, RowSelection)
    rows = whole if epilogue.does.axis == 1 else whole.T
    low, high = epilogue.does.scores
    scores = rows[:, low:high].max(axis=1)
    if epilogue.does.objectness is not None:
        scores = scores * rows[:, epilogue.does.objectness]
    chosen = rows[np.argsort(-scores, kind="stable")[: epilogue.does.count]]
    return postprocess([whole], GEOMETRY, spec.postprocess), postprocess([chosen], GEOMETRY, epilogue.behind)


def check_equal(results: tuple[Mapping[str, Array], Mapping[str, Array]], *, found: int = 10) -> None:
    before, behind = results
    assert before.keys() == behind.keys() and before["num_detections"][0] >= found
    for name in before:
        np.testing.assert_array_equal(before[name], behind[name], err_msg=name)


def random_head(seed: int, rows: int, columns: int, *, ties: bool = False) -> Array:
    """Boxes all over the image, and scores of which most are low."""
    random = np.random.default_rng(seed)
    head = random.random((rows, columns)) ** 6
    if ties:
        head = np.round(head * 32) / 32
    head[:, :4] = random.random((rows, 4)) * [640, 640, 80, 80]
    return head.astype(np.float32)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    "nms",
    [
        ", score_threshold: 0.3",
        ", score_threshold: 0.001, candidates: 3000",
        ", score_threshold: 0.001, candidates: 50",
        ", score_threshold: 0.001, candidates: 3000, multi_label: true",
        ", score_threshold: 0.001, candidates: 50, multi_label: true",
        ", score_threshold: 0.001, candidates: 60, iou_threshold: 1.0, multi_label: true",
        ", score_threshold: 0.001, candidates: 1",
    ],
)
@pytest.mark.parametrize("head", ["yolo_head", "yolo8_head", "yolo8_head, turned: true, features: 3"])
def test_the_results_of_the_selected_rows_are_those_of_all(head: str, nms: str, seed: int) -> None:
    whole = random_head(seed, 5000, 15)
    spec = detector(head, nms)
    found = 1 if "candidates: 1" in nms else 10
    check_equal(results_of(spec, whole.T if head == "yolo8_head" else whole), found=found)


@pytest.mark.parametrize("candidates", [50, 3000])
@pytest.mark.parametrize("head", ["yolo_head", "yolo8_head, turned: true"])
def test_of_equal_scores_the_same_are_reported(head: str, candidates: int) -> None:
    """Quantized heads have many: the rows are in the order that the step looks at them in."""
    whole = random_head(3, 5000, 15, ties=True)
    check_equal(results_of(detector(head, f", score_threshold: 0.01, candidates: {candidates}"), whole))
