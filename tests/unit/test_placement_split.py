"""Which operations of a spec can move into a graph, and what is left to the steps."""

from typing import Any, Final, get_args

import cv2
import numpy as np
import pytest

from qtriton.backends.base import Moves
from qtriton.backends.runner import Signature, TensorInfo
from qtriton.placement.classes import ClassChoice
from qtriton.placement.placed import Placed
from qtriton.placement.selection import RowSelection
from qtriton.placement.split import Epilogue, epilogue_of, prologue_of
from qtriton.runtime.pre import ExtraInput, extra_input, preprocess
from qtriton.spec import ModelSpec
from qtriton.spec_files import load_spec, parse_spec, zoo_names

#: The first output of each model whose operations could move, with the batch; of all others nothing can.
SELECTED: Final = {
    "yolov5n": ((-1, 25200, 85), "the best 3000 of 25200 rows with a score over 0.25"),
    "yolov6lite_l0": ((-1, 2125, 85), None),  # no more rows than candidates
    "demo_digits": ((-1, 980, 15), None),
    "cgnet_camvid": ((-1, 11, 360, 480), "argmax"),
    "deeplabv3_mobilenet_v3_large": ((-1, 21, 520, 520), "argmax"),
    "pp_liteseg_stdc1_cityscapes": ((-1, 19, 512, 1024), "argmax"),
}
#: Models of one image at a time: their first output has no free batch, and their specs say so.
ONE_IMAGE: Final = {
    "yolov5s": (1, 25200, 85),
    "yolov6s": (1, 8400, 85),
    "yolov7": (1, 25200, 85),
    "yolov8n": (1, 84, 8400),
    "yolov8s": (1, 84, 8400),
    "yolo11n": (1, 84, 8400),
    "yolo11s": (1, 84, 8400),
    "yolo12n": (1, 84, 8400),
    "yolo26n": (1, 300, 6),
    "yolox_nano": (1, 3549, 85),
    "yolox_s": (1, 8400, 85),
    "nanodet_plus_m_416": (1, 3598, 112),
    "picodet_xs_416": (1, 2704, 80),
    "ppyoloe_crn_l_300e_coco": (1, 300, 6),
    "rfdetr_nano": (1, 300, 91),
}


@pytest.mark.parametrize("name", zoo_names())
def test_what_moves_of_the_zoo(name: str) -> None:
    spec = load_spec(name)
    prologue = prologue_of(spec)
    if name == "rfdetr_nano":
        assert prologue is None, "its pixels are floats once they are resized"
    else:
        assert prologue is not None and prologue.before == spec.preprocess[:-2]
    shape, words = SELECTED.get(name, (ONE_IMAGE.get(name, (-1, 1000)), None))
    epilogue = epilogue_of(spec, shape, "FP32")
    assert (epilogue and str(epilogue)) == words
    if epilogue is not None:
        assert [op.op for op in epilogue.behind][-1] == spec.postprocess[-1].op


@pytest.mark.parametrize("name", zoo_names())
@pytest.mark.parametrize("shape", [(-1, 8400, 85), (-1, 85, 8400), (-1, 20, 60, 80), (-1, 1, 60, 80), (-1, 60, 80, 20)])
def test_a_head_of_another_form_is_left_alone(name: str, shape: tuple[int, ...]) -> None:
    """Whatever a model gives: rows are selected of heads of rows, and classes chosen of maps."""
    spec = load_spec(name)
    epilogue = epilogue_of(spec, shape, "FP32")
    first = spec.postprocess[0].op
    if epilogue is not None and isinstance(epilogue.does, RowSelection):
        assert first in ("yolo_head", "yolo8_head") and len(shape) == 3
        assert shape[epilogue.does.axis] > epilogue.does.count
    elif epilogue is not None:
        assert first in ("argmax", "classes_first", "threshold") and len(shape) == 4


DETECTOR = """
name: m
task: detection
input: {{name: images, dims: [3, 64, 64]}}
preprocess: [{{op: letterbox, size: [64, 64]{pre}}}, {{op: rgb}}, {{op: normalize}}, {{op: chw}}]
postprocess: [{{op: {head}}}, {{op: nms{nms}}}]
{more}"""


def detector(head: str = "yolo_head", *, pre: str = "", nms: str = "", more: str = "") -> ModelSpec:
    return parse_spec(DETECTOR.format(head=head, pre=pre, nms=nms, more=more), "m.yaml")


def segmenter(*ops: str, size: str = "[64, 64]") -> ModelSpec:
    steps = ", ".join(f"{{op: {op}}}" for op in (*ops, f"mask, size: {size}"))
    return parse_spec(
        f"""
name: m
task: segmentation
input: {{name: images, dims: [3, 64, 64]}}
preprocess: [{{op: resize, size: [64, 64]}}, {{op: rgb}}, {{op: normalize}}, {{op: chw}}]
postprocess: [{steps}]
""",
        "m.yaml",
    )


def epilogue(spec: ModelSpec, *shape: int, kind: str = "FP32") -> Epilogue | None:
    return epilogue_of(spec, (-1, *shape), kind)


def test_a_selection_has_as_many_rows_as_nms_looks_at() -> None:
    found = epilogue(detector(nms=", candidates: 500"), 4000, 85)
    assert found is not None and found.does == RowSelection(1, 500, (5, 85), objectness=4, width=85, above=0.25)
    assert [op.op for op in found.behind] == ["yolo_head", "nms"]
    assert (found.bytes_before, found.bytes_behind, found.rows) == (4 * 4000 * 85, 4 * 500 * 85, 4000)
    assert found.saving == 4 * 3500 * 85


@pytest.mark.parametrize(
    ("head", "shape", "selection"),
    [
        ("yolo8_head", (84, 8400), RowSelection(2, 3000, (4, 84), width=84, above=0.25)),
        ("yolo8_head, turned: true", (8400, 84), RowSelection(1, 3000, (4, 84), width=84, above=0.25)),
        ("yolo8_head, features: 32", (116, 8400), RowSelection(2, 3000, (4, 84), width=116, above=0.25)),
        ("yolo8_head, turned: true, features: 5", (8400, 89), RowSelection(1, 3000, (4, 84), width=89, above=0.25)),
    ],
)
def test_a_head_without_objectness_is_turned_once_it_is_selected(
    head: str, shape: tuple[int, ...], selection: RowSelection
) -> None:
    """Rows leave the graph, whose scores are those before the features."""
    spec = detector(head)
    found = epilogue(spec, *shape)
    assert found is not None and found.does == selection
    assert found.behind[0] == type(spec.postprocess[0])(**{**vars(spec.postprocess[0]), "turned": True})
    assert found.behind[1:] == spec.postprocess[1:]


@pytest.mark.parametrize(
    ("spec", "shape", "kind"),
    [
        (detector(nms=", candidates: 3841"), (25200, 85), "FP32"),
        (detector(nms=", clip_first: true"), (25200, 85), "FP32"),
        (detector(more="max_batch_size: 0"), (25200, 85), "FP32"),
        (detector(), (25200, 85), "FP16"),
        (detector(), (25200, 85), "INT32"),
        (detector(), (3000, 85), "FP32"),
        (detector(), (25200, 5), "FP32"),
        (detector(), (-1, 85), "FP32"),
        (detector(), (25200, -1), "FP32"),
        (detector(), (3, 8400, 85), "FP32"),
        (detector(), (25200,), "FP32"),
        (detector("yolo8_head, features: 80"), (84, 8400), "FP32"),
        (detector("yolox_head, size: [64, 64]"), (25200, 85), "FP32"),
        (detector("nanodet_head, size: [64, 64]"), (8400, 112), "FP32"),
    ],
    ids=["more than TensorRT selects", "boxes are left out before", "no batch", "FP16", "integers", "no fewer rows",
         "no scores", "rows unknown", "columns unknown", "rank 4", "rank 2", "features only", "grid", "integral"],
)  # fmt: skip
def test_what_stays_in_the_step(spec: ModelSpec, shape: tuple[int, ...], kind: str) -> None:
    assert epilogue(spec, *shape, kind=kind) is None


def test_tensorrt_selects_3840_rows() -> None:
    assert epilogue(detector(nms=", candidates: 3840"), 25200, 85) is not None


@pytest.mark.parametrize(
    ("ops", "shape", "does", "behind", "bytes_behind"),
    [
        (["argmax"], (21, 60, 80), ClassChoice(), ["mask"], 60 * 80),
        (["classes_first", "argmax"], (60, 80, 21), ClassChoice(axis=3), ["mask"], 60 * 80),
        (["threshold"], (1, 60, 80), ClassChoice(above=0.5), ["mask"], 60 * 80),
        (["threshold, above: 0"], (1, 60, 80), ClassChoice(above=0.0), ["mask"], 60 * 80),
    ],
)
def test_a_class_of_each_pixel(
    ops: list[str], shape: tuple[int, ...], does: ClassChoice, behind: list[str], bytes_behind: int
) -> None:
    found = epilogue(segmenter(*ops), *shape)
    assert found is not None and found.does == does
    assert [op.op for op in found.behind] == behind and found.bytes_behind == bytes_behind
    assert found.classes == (2 if does.above is not None else 21)
    assert str(found) == ("argmax" if does.above is None else "threshold")


@pytest.mark.parametrize(
    ("ops", "shape", "kind"),
    [
        (["argmax"], (257, 60, 80), "FP32"),
        (["argmax"], (21, 60, 80), "INT64"),
        (["argmax"], (60, 80), "FP32"),
        (["threshold"], (2, 60, 80), "FP32"),
        (["classes_first"], (60, 80, 21), "FP32"),
        (["upsample, size: [64, 64]", "argmax"], (21, 16, 16), "FP32"),
        (["argmax"], (21, -1, 80), "FP32"),
    ],
    ids=["more classes than a byte", "ids already", "rank 3", "two scores", "no choice", "interpolated first", "size"],
)
def test_where_no_class_is_chosen_in_the_graph(ops: list[str], shape: tuple[int, ...], kind: str) -> None:
    assert epilogue(segmenter(*ops), *shape, kind=kind) is None


@pytest.mark.parametrize(
    "preprocess",
    [
        "[{op: resize, size: [64, 64], interpolation: exact_linear}, {op: rgb}, {op: normalize}, {op: chw}]",
        "[{op: resize, size: [64, 64]}, {op: normalize}, {op: rgb}, {op: chw}]",
    ],
    ids=["floats are resized", "the order of channels is changed behind"],
)
def test_where_the_pixels_are_no_bytes_before_the_end_the_step_has_it_all(preprocess: str) -> None:
    text = DETECTOR.format(head="yolo_head", pre="", nms="", more="").splitlines()
    text[4] = f"preprocess: {preprocess}"
    assert prologue_of(parse_spec("\n".join(text), "m.yaml")) is None


@pytest.mark.parametrize("name", zoo_names())
def test_the_step_gives_bytes_that_the_rest_of_the_chain_makes_the_image_of(name: str) -> None:
    """Whatever comes before: `preprocess` of both specs, on one photo."""
    spec = load_spec(name)
    where = Placed.of(spec, prologue_of(spec), None, Moves(least_saving=0)).spec
    photo = np.random.default_rng(6).integers(0, 256, (60, 80, 3), np.uint8)
    data = cv2.imencode(".png", photo)[1].tobytes()
    whole, begun = preprocess(data, spec.preprocess), preprocess(data, where.preprocess)
    assert (begun.pixels.shape, begun.pixels.dtype) == where.fed and begun.geometry == whole.geometry
    for op in spec.preprocess[len(where.preprocess) :]:
        begun = op(begun)
    np.testing.assert_array_equal(begun.pixels, whole.pixels)


@pytest.mark.parametrize("kind", get_args(ExtraInput))
def test_what_else_a_model_takes_is_the_same_beside_pixels(kind: ExtraInput) -> None:
    spec = load_spec("rtdetr_r18vd")
    where = Placed.of(spec, prologue_of(spec), None, Moves(least_saving=0)).spec
    data = cv2.imencode(".png", np.zeros((60, 80, 3), np.uint8))[1].tobytes()
    frames = [preprocess(data, each.preprocess) for each in (spec, where)]
    one, two = (extra_input(kind, frame) for frame in frames)
    np.testing.assert_array_equal(one, two)
    assert where.inputs[1:] == spec.inputs[1:]


MOVES: Final = Moves(least_saving=0)
WHOLE: Final = Signature(
    (TensorInfo("images", "FP32", (-1, 3, 64, 96)),),
    (TensorInfo("output", "FP32", (-1, 25200, 85)), TensorInfo("protos", "FP32", (-1, 32, 16, 16))),
)


def test_a_spec_without_what_the_graph_does() -> None:
    spec = detector()
    where = Placed.of(spec, prologue_of(spec), epilogue(spec, 25200, 85), MOVES)
    assert [op.op for op in where.spec.preprocess] == ["letterbox", "rgb"]
    assert where.spec.fed == ((64, 64, 3), np.uint8)
    assert where.spec.inputs == (("images", (64, 64, 3)),)
    assert where.spec.results == spec.results and where.spec.name == spec.name
    assert where.outputs(WHOLE).outputs == (TensorInfo("output", "FP32", (-1, 3000, 85)), WHOLE.outputs[1])
    assert where.given(WHOLE) == (TensorInfo("output", "FP32", (-1, -1, 85)), WHOLE.outputs[1])


@pytest.mark.parametrize("free", [True, False])
def test_rows_below_the_threshold_leave_only_graphs_of_as_many_rows_as_ever(free: bool) -> None:
    spec = detector(nms=", score_threshold: 0.4")
    where = Placed.of(spec, None, epilogue(spec, 25200, 85), Moves(0, free_rows=free))
    assert where.epilogue is not None and isinstance(where.epilogue.does, RowSelection)
    assert where.epilogue.does.above == getattr(where.spec, "above", 0) == (0.4 if free else None)
    assert str(where.epilogue) == "the best 3000 of 25200 rows" + " with a score over 0.4" * free
    assert where.outputs(WHOLE).outputs[0].shape == (-1, -1 if free else 3000, 85)
    assert where.given(WHOLE)[0].shape == (-1, -1, 85)


def test_where_nothing_moves_the_spec_is_the_model_s_own() -> None:
    spec = detector()
    where = Placed.of(spec, None, None, MOVES)
    assert where == Placed(spec) and where.spec is spec and where.outputs(WHOLE) is WHOLE
    assert spec.fed == ((3, 64, 64), np.float32)


def test_what_only_one_end_moves() -> None:
    spec = detector("yolo8_head")
    chosen = Placed.of(spec, None, epilogue(spec, 84, 8400), MOVES)
    assert chosen.spec.preprocess == spec.preprocess and chosen.spec.fed == spec.fed
    whole: Any = Signature(WHOLE.inputs, (TensorInfo("output", "FP32", (-1, 84, 8400)),))
    assert chosen.outputs(whole).outputs == (TensorInfo("output", "FP32", (-1, 3000, 84)),)


def test_a_map_of_class_ids() -> None:
    spec = segmenter("argmax")
    where = Placed.of(spec, None, epilogue(spec, 21, 60, 80), MOVES)
    whole = Signature(WHOLE.inputs, (TensorInfo("scores", "FP32", (-1, 21, 60, 80)),))
    assert where.outputs(whole).outputs == (TensorInfo("scores", "UINT8", (-1, 60, 80)),)
    assert getattr(where.spec, "ids", None) == 21


def test_what_an_artifact_depends_on() -> None:
    """Not on how much is saved, but on what is done, and for which runtime."""
    spec, other = detector(), detector(nms=", candidates: 100")
    keys = [
        Placed(spec).key,
        Placed.of(spec, prologue_of(spec), None, MOVES).key,
        Placed.of(spec, prologue_of(spec), None, Moves(0, cast_first=True)).key,
        Placed.of(spec, None, epilogue(spec, 25200, 85), MOVES).key,
        Placed.of(other, None, epilogue(other, 25200, 85), MOVES).key,
    ]
    assert len(set(keys)) == len(keys)
    again = detector()
    assert Placed.of(again, prologue_of(again), None, MOVES).key == keys[1]
