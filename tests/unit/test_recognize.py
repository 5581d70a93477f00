"""The spec of an ONNX file follows from what the file says; what it does not say is asked for, not guessed."""

import json
import re
from pathlib import Path
from typing import Any

import onnx
import pytest
from onnx import TensorProto

from qtriton.errors import InputError, ModelError, UnsupportedError
from qtriton.recognize import recognize
from qtriton.recognize.ask import FAMILIES
from qtriton.recognize.find import find_model
from qtriton.recognize.write import as_yaml
from qtriton.runtime.end2end import Detections
from qtriton.runtime.heads import End2EndHead, Yolo8Head
from qtriton.runtime.maps import Mask
from qtriton.runtime.pre import Normalize, Resize, ResizeShort
from qtriton.runtime.scores import Softmax, TopK
from qtriton.spec_files import classes, generic_names, parse_spec, zoo_names

from .exports import ULTRALYTICS, export, node, with_input

#: Metadata, outputs and the base that they are.
ULTRALYTICS_FILES: dict[str, tuple[dict[str, str], tuple[int | str, ...], str]] = {
    "yolo11": ({}, (1, 7, 84), "ultralytics_detect"),
    "dynamic": ({}, ("batch", 7, "anchors"), "ultralytics_detect"),
    "two_classes": ({"names": "{0: 'cat', 1: 'dog'}"}, (1, 6, 84), "ultralytics_detect"),
    "nms": ({"args": "{'nms': True}"}, (1, 300, 6), "ultralytics_end2end"),
    "yolo26": ({"end2end": "True"}, (1, 300, 6), "ultralytics_end2end"),
    "two_classes_nms": ({"names": "{0: 'cat', 1: 'dog'}"}, (1, 300, 6), "ultralytics_end2end"),
    "rtdetr": ({"head": "RTDETRDecoder"}, (1, 300, 6), "ultralytics_rtdetr"),
    "rtdetr_8_3": ({"head": "", "description": "Ultralytics rtdetr-l model"}, (1, 300, 7), "ultralytics_rtdetr"),
    "seg": ({"task": "segment"}, (1, 39, 84), "ultralytics_segment"),
    "pose": ({"task": "pose", "kpt_shape": "[17, 3]"}, (1, 58, 84), "ultralytics_pose"),
    "hand": ({"task": "pose", "kpt_shape": "[21, 2]"}, (1, 49, 84), "ultralytics_pose"),
    "obb": ({"task": "obb"}, (1, 8, 84), "ultralytics_obb"),
    "seg26": ({"task": "segment", "end2end": "True"}, (1, 300, 38), "ultralytics_segment_end2end"),
    "pose26": ({"task": "pose", "kpt_shape": "[17, 3]"}, (1, 300, 57), "ultralytics_pose_end2end"),
    "hand26": ({"task": "pose", "kpt_shape": "[21, 2]"}, (1, 300, 48), "ultralytics_pose_end2end"),
    "obb26": ({"task": "obb", "args": "{'nms': True}"}, (1, 300, 7), "ultralytics_obb_end2end"),
    "sem": ({"task": "semantic"}, (1, 3, 32, 32), "ultralytics_semantic"),
    "cls": ({"task": "classify", "head": "Classify"}, (1, 3), "ultralytics_classify"),
}


@pytest.mark.parametrize("name", ULTRALYTICS_FILES)
def test_ultralytics_metadata_says_what_a_file_is(name: str, tmp_path: Path) -> None:
    more, shape, base = ULTRALYTICS_FILES[name]
    found = recognize(export(tmp_path / "my best.onnx", {"output0": shape}, metadata={**ULTRALYTICS, **more}))
    assert (found.base, found.spec.name) == (base, "my_best")
    assert (found.spec.input.name, found.spec.input.dims) == ("images", (3, 64, 64))
    assert classes(found.spec)[:2] == ("cat", "dog")
    assert found.spec.max_batch_size == 0
    assert found.spec.source.licence == "AGPL-3.0 License"
    assert len(found.lines) == 5 and "metadata of Ultralytics 8.4.1: task" in found.lines[0]


def test_a_head_of_ultralytics_has_the_thresholds_of_predict_and_val(tmp_path: Path) -> None:
    spec = recognize(export(tmp_path / "a.onnx", {"output0": (1, 7, 84)}, metadata=ULTRALYTICS)).spec
    head, nms = spec.postprocess
    assert isinstance(head, Yolo8Head)
    assert (vars(nms)["score_threshold"], vars(nms)["iou_threshold"], vars(nms)["detections"]) == (0.25, 0.7, 300)
    assert spec.evaluation == {"score_threshold": 0.001, "multi_label": True}


def test_keypoints_of_another_number_are_read_as_the_metadata_says(tmp_path: Path) -> None:
    metadata = {**ULTRALYTICS, "task": "pose", "kpt_shape": "[21, 2]"}
    head, pose = recognize(export(tmp_path / "a.onnx", {"output0": (1, 49, 84)}, metadata=metadata)).spec.postprocess
    assert (vars(head)["features"], vars(pose)["keypoints"]) == (42, 21)
    head, pose = recognize(export(tmp_path / "b.onnx", {"output0": (1, 300, 48)}, metadata=metadata)).spec.postprocess
    assert (head, vars(pose)["keypoints"], vars(pose)["iou_threshold"]) == (End2EndHead(), 21, 1)


def test_ultralytics_classifiers_are_cropped_at_their_own_size(tmp_path: Path) -> None:
    metadata = {**ULTRALYTICS, "task": "classify"}
    spec = recognize(export(tmp_path / "a.onnx", {"output0": (1, 3)}, (1, 3, 96, 96), metadata)).spec
    resize = spec.preprocess[0]
    assert isinstance(resize, ResizeShort) and resize.pixels == 96
    assert spec.postprocess == (TopK(k=3),)
    wide = recognize(export(tmp_path / "b.onnx", {"output0": (1, 3)}, (1, 3, 64, 96), metadata)).spec
    assert wide.preprocess[0] == Resize((64, 96), interpolation="pillow_linear")


def test_a_free_size_is_the_one_in_the_metadata(tmp_path: Path) -> None:
    path = export(tmp_path / "a.onnx", {"output0": ("batch", 7, "n")}, ("batch", 3, "h", "w"), ULTRALYTICS)
    found = recognize(path)
    assert found.spec.input.dims == (3, 64, 64) and found.spec.max_batch_size == 8
    assert "64 x 64 in the metadata" in found.lines[1]


def test_a_size_that_nobody_states_is_asked_for(tmp_path: Path) -> None:
    path = export(tmp_path / "a.onnx", {"scores": ("batch", 10)}, ("batch", 3, "h", "w"))
    with pytest.raises(InputError, match=r"leaves the height and width free.*base, input with dims"):
        recognize(path, "torchvision_classify")


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ("['a', 'b']", ("a", "b")),
        ('{"0": "a", "1": "b"}', ("a", "b")),
        ("{1: 'b', 0: 'a'}", ("a", "b")),
        ("{0: 'a', 2: 'b'}", ()),
        ("__import__('os')", ()),
        ("{0: 'a'", ()),
        ("[" * 20000, ()),
    ],
)
def test_names_are_read_as_data_or_not_at_all(names: str, expected: tuple[str, ...], tmp_path: Path) -> None:
    metadata = {"stride": "32", "names": names}
    spec = recognize(export(tmp_path / "a.onnx", {"output": (1, 252, 7)}, metadata=metadata)).spec
    assert classes(spec) == expected


def test_a_yolov5_is_known_by_its_metadata_or_its_anchors(tmp_path: Path) -> None:
    for metadata in ({"stride": "32", "names": "{0: 'a', 1: 'b'}"}, {}):
        found = recognize(export(tmp_path / "a.onnx", {"output": (1, 3 * 84, 7)}, metadata=metadata))
        assert found.base == "generic_detection" and len(classes(found.spec)) == 2 * bool(metadata)


#: The outputs and the bases that they may be, of an image of 64 x 64.
SHAPES: dict[str, tuple[dict[str, tuple[int | str, ...]], list[str]]] = {
    "yolov8": ({"output": (1, 7, 84)}, ["ultralytics_detect"]),
    "yolov5": ({"output": (1, 252, 7)}, ["generic_detection"]),
    "anchor_free": ({"output": (1, 84, 7)}, ["yolox", "yolov6"]),
    "nanodet": ({"output": (1, 85, 35)}, ["nanodet"]),
    "picodet": (
        {
            **{f"scores{i}": (1, (8 >> i) ** 2, 3) for i in range(4)},
            **{f"boxes{i}": (1, (8 >> i) ** 2, 32) for i in range(4)},
        },
        ["picodet"],
    ),
    "rows": ({"output": (1, 300, 6)}, ["ultralytics_end2end", "ultralytics_rtdetr"]),
    "yolov7": ({"output": ("n", 7)}, ["yolov7_end2end"]),
    "rfdetr": ({"dets": (1, 300, 4), "labels": (1, 300, 91)}, ["rfdetr"]),
    "rfdetr_seg": ({"dets": (1, 200, 4), "labels": (1, 200, 91), "masks": (1, 200, 16, 16)}, ["rfdetr_segment"]),
    "detr": ({"pred_boxes": (1, 100, 4), "logits": (1, 100, 92)}, ["rtdetr", "detr"]),
    "torchvision": ({"boxes": ("n", 4), "labels": ("n",), "scores": ("n",)}, ["torchvision_detect"]),
    "classifier": ({"scores": ("batch", 10)}, ["torchvision_classify", "timm_classify", "timm_vit"]),
    "pooled": ({"scores": (1, 10, 1, 1)}, ["torchvision_classify", "timm_classify", "timm_vit"]),
    "one_logit": ({"scores": (1, 1)}, ["torchvision_classify", "timm_classify", "timm_vit"]),
    "segmenter": ({"out": (1, 5, 16, 16), "aux": (1, 5, 16, 16)}, ["torchvision_segment", "generic_segmentation"]),
    "classes_last": ({"out": (1, 64, 64, 5)}, ["torchvision_segment", "generic_segmentation"]),
    "one_channel": ({"out": (1, 1, 64, 64)}, ["torchvision_segment", "generic_segmentation"]),
}


@pytest.mark.parametrize("name", SHAPES)
def test_without_metadata_shapes_tell_or_the_readings_are_named(name: str, tmp_path: Path) -> None:
    outputs, bases = SHAPES[name]
    integers, end = ["labels"] * (name == "torchvision"), "NonMaxSuppression" if name == "yolov7" else "Concat"
    path = export(tmp_path / "a.onnx", outputs, integers=integers, end=end)
    if len(bases) == 1:
        assert recognize(path).base == bases[0]
    else:
        with pytest.raises(InputError, match=f"{len(bases)} readings fit") as caught:
            recognize(path)
        assert re.findall(r"--base (\w+):", str(caught.value)) == bases
    for base in bases:
        spec = recognize(path, base).spec
        assert parse_spec(as_yaml(spec), name) == spec and not classes(spec)


def test_characters_beside_several_outputs_are_classes(tmp_path: Path) -> None:
    """RapidLayout names what a page is made of in the way in which PaddleOCR names its characters."""
    outputs, _ = SHAPES["picodet"]
    found = recognize(export(tmp_path / "a.onnx", outputs, metadata={"character": "text\ntitle\ntable"}))
    assert found.base == "picodet" and classes(found.spec) == ("text", "title", "table")


def test_focus_says_yolox_and_an_exp_that_it_is_decoded(tmp_path: Path) -> None:
    focus = [node("Slice", "images", "sliced")]
    found = recognize(export(tmp_path / "a.onnx", {"output": (1, 84, 7)}, begin=focus))
    assert (found.base, found.spec.postprocess[0].op) == ("yolox", "yolox_head")
    found = recognize(export(tmp_path / "a.onnx", {"output": (1, 84, 7)}, begin=focus, end="Exp"))
    assert (found.base, found.spec.postprocess[0].op) == ("yolox", "yolo_head")


@pytest.mark.parametrize(
    ("outputs", "end", "ops"),
    [
        ({"out": (1, 5, 64, 64)}, "Conv", ["argmax", "mask"]),
        ({"out": (1, 5, 16, 16)}, "Conv", ["upsample", "argmax", "mask"]),
        ({"out": (1, 64, 64, 5)}, "Conv", ["classes_first", "argmax", "mask"]),
        ({"out": (1, 1, 64, 64)}, "Conv", ["threshold", "mask"]),
    ],
)
def test_a_map_is_read_as_its_shape_and_the_graph_say(
    outputs: dict[str, tuple[int, ...]], end: str, ops: list[str], tmp_path: Path
) -> None:
    spec = recognize(export(tmp_path / "a.onnx", outputs, end=end), "torchvision_segment").spec
    assert [op.op for op in spec.postprocess] == ops


def test_a_map_of_one_probability_may_be_of_text(tmp_path: Path) -> None:
    path = export(tmp_path / "a.onnx", {"out": (1, 1, 64, 64)}, end="Sigmoid")
    with pytest.raises(InputError, match=r"--base ppocr_det: the output .* is a map of the probability of text"):
        recognize(path)
    spec = recognize(path, "ppocr_det").spec
    assert ([op.op for op in spec.postprocess], classes(spec)) == (["text_boxes"], ("text",))


@pytest.mark.parametrize(
    ("size", "base"), [((80, 160), "ppocr_cls"), ((48, 192), "ppocr_mobile_cls"), (("h", "w"), "ppocr_mobile_cls")]
)
def test_two_probabilities_of_a_wide_image_may_be_of_a_line_of_text(
    size: tuple[int | str, ...], base: str, tmp_path: Path
) -> None:
    path = export(tmp_path / "a.onnx", {"out": (1, 2)}, (1, 3, *size), end="Softmax")
    with pytest.raises(InputError, match=f"--base {base}: the output .* as PP-OCR's for lines"):
        recognize(path)
    spec = recognize(path, base).spec
    assert spec.postprocess == (TopK(k=2),) and spec.input.dims == ((3, 48, 192) if "mobile" in base else (3, 80, 160))
    with pytest.raises(InputError) as other:
        recognize(export(tmp_path / "b.onnx", {"out": (1, 2)}, end="Softmax"))
    assert "ppocr" not in str(other.value)


def test_scores_behind_a_sigmoid_may_be_of_several_labels(tmp_path: Path) -> None:
    path = export(tmp_path / "a.onnx", {"out": (1, 9)}, end="Sigmoid")
    with pytest.raises(InputError, match=r"--base generic_multi_label: the output .* of several labels"):
        recognize(path)
    assert [op.op for op in recognize(path, "generic_multi_label").spec.postprocess] == ["multi_label"]
    logits = export(tmp_path / "b.onnx", {"out": (1, 9)}, end="Gemm")
    ops = [op.op for op in recognize(logits, "generic_multi_label").spec.postprocess]
    assert ops == ["sigmoid", "multi_label"]


def test_one_score_is_a_logit_or_a_probability(tmp_path: Path) -> None:
    for end, ops in (("Gemm", ["sigmoid", "two_classes", "top_k"]), ("Sigmoid", ["two_classes", "top_k"])):
        spec = recognize(export(tmp_path / "a.onnx", {"score": (1, 1)}, end=end), "torchvision_classify").spec
        assert [op.op for op in spec.postprocess] == ops


def test_outputs_are_named_in_the_order_in_which_they_are_read(tmp_path: Path) -> None:
    path = export(tmp_path / "a.onnx", {"pred_boxes": (1, 100, 4), "logits": (1, 100, 80)})
    assert recognize(path, "rtdetr").spec.outputs == ("logits", "pred_boxes")
    path = export(tmp_path / "a.onnx", {"b": ("n", 4), "l": ("n",), "s": ("n",)}, integers=["l"])
    assert recognize(path).spec.outputs == ("b", "s", "l")


# The image


def test_channels_last_and_grey_images_are_seen(tmp_path: Path) -> None:
    spec = recognize(export(tmp_path / "a.onnx", {"s": (1, 9)}, (1, 64, 96, 3)), "torchvision_classify").spec
    assert spec.input.dims == (3, 64, 96)
    spec = recognize(export(tmp_path / "a.onnx", {"s": (1, 9)}, (1, 1, 64, 96)), "torchvision_classify").spec
    assert spec.input.dims == (1, 64, 96)
    ops = [op.op for op in spec.preprocess]
    assert "grey" in ops and "rgb" not in ops
    (normalize,) = (op for op in spec.preprocess if isinstance(op, Normalize))
    assert len(normalize.mean) == len(normalize.std) == 1


LIBREYOLO = {"libreyolo_version": "1.6.0", "task": "detect", "names": '{"0": "cat", "1": "dog"}', "nc": "2"}


@pytest.mark.parametrize(
    ("family", "outputs", "base", "head"),
    [
        ("yolox", {"output": (1, 84, 7)}, "yolox", "yolo_head"),
        ("yolo9", {"output": (1, 6, 84)}, "ultralytics_detect", "yolo8_head"),
        ("dfine", {"pred_logits": (1, 300, 2), "pred_boxes": (1, 300, 4)}, "rtdetr", "detr_head"),
        ("rtmdet", {"output": (1, 84, 6)}, "rtmdet", "yolo8_head"),
        ("rfdetr", {"dets": (1, 300, 4), "labels": (1, 300, 2)}, "rfdetr", "detr_head"),
    ],
)
def test_libreyolo_says_its_family(
    family: str, outputs: dict[str, tuple[int, ...]], base: str, head: str, tmp_path: Path
) -> None:
    path = export(tmp_path / "a.onnx", outputs, metadata={**LIBREYOLO, "model_family": family})
    found = recognize(path)
    assert (found.base, found.spec.postprocess[0].op, classes(found.spec)) == (base, head, ("cat", "dog"))
    assert "LibreYOLO 1.6.0: model_family" in found.lines[0]
    assert parse_spec(as_yaml(found.spec), family) == found.spec


@pytest.mark.parametrize("task", ["detect", "segment"])
def test_rfdetr_has_a_logit_of_the_background_or_one_for_each_of_cocos_ids(task: str, tmp_path: Path) -> None:
    masks: dict[str, tuple[int, ...]] = {"masks": (1, 100, 16, 16)} if task == "segment" else {}
    said = {**LIBREYOLO, "model_family": "rfdetr", "task": task}
    path = export(tmp_path / "a.onnx", {"dets": (1, 100, 4), "labels": (1, 100, 3), **masks}, metadata=said)
    found = recognize(path).spec
    assert (found.postprocess[0].op, classes(found)) == ("detr_head", ("cat", "dog", "background"))
    said["names"] = json.dumps({str(number): f"kind {number}" for number in range(80)})
    path = export(tmp_path / "a.onnx", {"dets": (1, 100, 4), "labels": (1, 100, 91), **masks}, metadata=said)
    found = recognize(path).spec
    assert found.classes == "coco_by_id" and classes(found)[1] == "person"
    assert found.results[0].name == "num_detections" and ("masks" in str(found.results)) is bool(masks)


def test_a_map_with_the_names_of_transformers_may_be_segformer(tmp_path: Path) -> None:
    model = onnx.load(export(tmp_path / "a.onnx", {"logits": (1, 5, 16, 16)}))
    model.graph.input[0].name = model.graph.node[0].input[0] = "pixel_values"
    path = tmp_path / "b.onnx"
    onnx.save(model, path)
    with pytest.raises(InputError, match=r"--base segformer: the output .* named as transformers does"):
        recognize(path)
    spec = recognize(path, "segformer").spec
    assert spec.postprocess == (Mask((64, 64), of="scores"),)


def test_sizes_that_a_model_asks_for_are_fed(tmp_path: Path) -> None:
    outputs: dict[str, tuple[int | str, ...]] = {"labels": (1, 300), "boxes": (1, 300, 4), "scores": (1, 300)}
    path = export(tmp_path / "a.onnx", outputs, integers=["labels"])
    found = recognize(with_input(path, "orig_target_sizes", TensorProto.INT64))
    assert found.base == "rtdetr_end2end" and found.spec.outputs == ("boxes", "scores", "labels")
    assert found.spec.extra_inputs == {"orig_target_sizes": "original_wh"}


def test_detectors_of_paddle_differ_in_normalisation_which_is_asked_for(tmp_path: Path) -> None:
    path = export(tmp_path / "a.onnx", {"boxes": ("n", 6), "count": (1,)}, integers=["count"])
    path = with_input(path, "scale_factor", TensorProto.FLOAT)
    with pytest.raises(InputError, match=r"--base ppyoloe: .*--base ppyoloe_plus: "):
        recognize(path)
    spec = recognize(path, "ppyoloe").spec
    assert (spec.outputs, spec.extra_inputs) == (("boxes",), {"scale_factor": "scale_factor"})


# Two readings


def test_two_readings_are_named_with_the_option_that_decides(tmp_path: Path) -> None:
    path = export(tmp_path / "a.onnx", {"scores": (1, 10)})
    with pytest.raises(InputError, match="3 readings fit") as caught:
        recognize(path)
    offered = re.findall(r"--base (\w+):", str(caught.value))
    assert offered == ["torchvision_classify", "timm_classify", "timm_vit"]
    for base in offered:
        assert recognize(path, base).base == base
    means = {recognize(path, base).spec.preprocess[3] for base in offered}
    assert len(means) == 2


@pytest.mark.parametrize(("end", "ops"), [("Softmax", [TopK]), ("Gemm", [Softmax, TopK])])
def test_what_a_classifier_ends_in_decides_what_follows(end: str, ops: list[type], tmp_path: Path) -> None:
    found = recognize(export(tmp_path / "a.onnx", {"scores": (1, 3)}, end=end), "torchvision_classify")
    assert [type(op) for op in found.spec.postprocess] == ops
    assert vars(found.spec.postprocess[-1])["k"] == 3


def test_a_base_that_does_not_exist_is_answered_with_those_that_do(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"--base yolo: there is no such base.*ultralytics_detect"):
        recognize(export(tmp_path / "a.onnx", {"scores": (1, 10)}), "yolo")


def test_a_model_of_the_zoo_is_a_base_without_what_is_its_own(tmp_path: Path) -> None:
    spec = recognize(export(tmp_path / "a.onnx", {"output": (1, 84, 7)}), "yolov6s").spec
    assert (spec.name, spec.title, spec.fastdeploy, spec.source.url) == ("a", "", "", None)


# Normalisation inside

IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}


@pytest.mark.parametrize(
    ("begin", "constants", "scale"),
    [
        ([node("Sub", "images", "mean", "s"), node("Div", "s", "std", "n")], IMAGENET, 1 / 255),
        ([node("Mul", "images", "by", "n")], {"by": [1 / 255]}, 1.0),
        (
            [node("Cast", "images", "c"), node("Div", "c", "by", "d"), node("Sub", "d", "mean", "n")],
            {"by": [255], **IMAGENET},
            1.0,
        ),
    ],
)
def test_normalisation_in_the_graph_is_not_done_twice(
    begin: list[Any], constants: dict[str, Any], scale: float, tmp_path: Path
) -> None:
    path = export(tmp_path / "a.onnx", {"scores": (1, 10)}, begin=begin, constants=constants)
    found = recognize(path, "torchvision_classify")
    (normalize,) = (op for op in found.spec.preprocess if isinstance(op, Normalize))
    assert normalize == Normalize(scale=scale)
    assert "the graph begins with pixel *" in found.lines[2]


def test_arithmetic_between_computed_tensors_is_no_normalisation(tmp_path: Path) -> None:
    begin = [node("Sigmoid", "images", "s"), node("Mul", "images", "s", "n")]
    path = export(tmp_path / "a.onnx", {"scores": (1, 10)}, begin=begin)
    spec = recognize(path, "torchvision_classify").spec
    assert spec.preprocess[3] == Normalize(mean=IMAGENET["mean"], std=IMAGENET["std"])


# What cannot be read


def test_a_model_that_nobody_knows_is_told_with_its_outputs_and_the_bases(tmp_path: Path) -> None:
    path = export(tmp_path / "a.onnx", {"boxes": (1, 9, 4), "angles": (1, 8, 2)})
    with pytest.raises(ModelError, match=r"boxes \[1, 9, 4\], angles \[1, 8, 2\].*--base: detr, generic_class"):
        recognize(path)


def test_a_file_that_is_no_onnx_is_told(tmp_path: Path) -> None:
    for content in (b"PK\x03\x04 no model", b""):
        (tmp_path / "a.onnx").write_bytes(content)
        with pytest.raises(ModelError, match="no valid ONNX file"):
            recognize(tmp_path / "a.onnx")


def test_a_model_without_an_image_is_told(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"no input that takes an image.*images \[1, 128\]"):
        recognize(export(tmp_path / "a.onnx", {"scores": (1, 10)}, (1, 128)), "torchvision_classify")


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("x/best.onnx", "x/best.onnx: no such file. Give an ONNX file, a spec"),
        ("best.onnx", "best.onnx: no such file"),
        ("best.pt", "`yolo export model=best.pt format=onnx`"),
        ("best.engine", "TensorRT engine"),
        ("folder", "Give the ONNX file in it: a.onnx"),
        ("empty", "empty: a Paddle inference model is a file"),
        ("notes.txt", "neither an ONNX file"),
        ("./yolov8", "no such file"),
        ("yolov8", "not in the zoo"),
    ],
)
def test_what_is_no_model_is_told(given: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    export(Path("folder/a.onnx"), {"scores": (1, 10)})
    Path("empty").mkdir()
    Path("notes.txt").write_text("?")
    with pytest.raises(InputError, match=re.escape(words)):
        find_model(given)


def test_options_that_do_not_go_with_a_file_are_refused(tmp_path: Path) -> None:
    path = export(tmp_path / "a.onnx", {"output0": (1, 7, 84)}, metadata=ULTRALYTICS)
    with pytest.raises(InputError, match="holds the weights already"):
        find_model(str(path), weights=path)
    with pytest.raises(InputError, match=r"--base timm_classify: .*demo_digits is a spec"):
        find_model("demo_digits", base="timm_classify")


def test_a_folder_called_like_a_model_of_the_zoo_hides_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("demo_digits").mkdir()
    assert find_model("demo_digits").spec.name == "demo_digits"


# Three lines


def test_a_spec_of_three_lines_takes_the_rest_from_its_weights(tmp_path: Path) -> None:
    weights = export(tmp_path / "best.onnx", {"output0": (1, 7, 84)}, metadata=ULTRALYTICS)
    path = tmp_path / "my helmets.yaml"
    path.write_text("base: ultralytics_end2end\n")
    spec = find_model(str(path), weights).spec
    assert (spec.name, spec.input.dims, spec.max_batch_size) == ("my_helmets", (3, 64, 64), 0)
    assert classes(spec) == ("cat", "dog", "no") and isinstance(spec.postprocess[0], Detections)
    path.write_text("base: ultralytics_detect\nclasses: [a, b, c]\ninput: {dims: [3, 32, 64]}\nmax_batch_size: 1\n")
    spec = find_model(str(path), weights).spec
    assert (spec.input.name, spec.input.dims, spec.max_batch_size) == ("images", (3, 32, 64), 1)
    assert classes(spec) == ("a", "b", "c")


# What this version does not serve


@pytest.mark.parametrize(
    ("outputs", "metadata", "end", "words"),
    [
        ({"out": (1, 40, 97)}, {}, "Softmax", "it recognises text"),
        ({"num": (1, 1), "boxes": (1, 100, 4)}, {}, "EfficientNMS_TRT", "plugin of TensorRT"),
        ({"out": (1, 64, 64)}, {**ULTRALYTICS, "task": "depth"}, "Conv", "says task depth"),
    ],
)
def test_what_is_known_and_not_served_is_refused(
    outputs: dict[str, tuple[int, ...]], metadata: dict[str, str], end: str, words: str, tmp_path: Path
) -> None:
    with pytest.raises(UnsupportedError, match=words):
        recognize(export(tmp_path / "a.onnx", outputs, metadata=metadata, end=end))


# As YAML


@pytest.mark.parametrize("name", [*zoo_names(), *ULTRALYTICS_FILES])
def test_a_spec_that_is_written_is_read_back_as_it_was(name: str, tmp_path: Path) -> None:
    reasons: dict[str, str] = {}
    if name in ULTRALYTICS_FILES:
        more, shape, _ = ULTRALYTICS_FILES[name]
        more = {**more, "names": "{0: 'no', 1: '# x: {', 2: 'a\\nb'}"} if "names" not in more else more
        found = recognize(export(tmp_path / "a.onnx", {"output0": shape}, metadata={**ULTRALYTICS, **more}))
        spec, reasons = found.spec, found.reasons
    else:
        spec = find_model(name).spec
    text = as_yaml(spec, reasons)
    assert parse_spec(text, name) == spec
    assert all(" # " in line for line in text.splitlines() if line.startswith("  - {op"))


def test_every_family_has_a_base() -> None:
    assert {family.base for family in FAMILIES} <= set(generic_names())
