"""What the home projects of today's models do before and behind their networks: a part of test_home_projects.py.

Nothing is shared with qtriton.runtime. An input is [3, height, width]; what is behind gives rows [n, 6] of x1, y1, x2,
y2, score, class in pixels of the photo, or [k, 2] of class and score.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final, TypeAlias

import cv2
import numpy as np
import numpy.typing as npt
import pytest

Array: TypeAlias = npt.NDArray[Any]
Size: TypeAlias = tuple[int, int]

IMAGENET: Final = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
INCEPTION: Final = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


# ---- before the network -------------------------------------------------------------------------------------------


def normalized(image: Array, mean: Sequence[float], std: Sequence[float]) -> Array:
    """ToTensor and Normalize of torchvision."""
    planes = image.transpose(2, 0, 1).astype(np.float32) / np.float32(255)
    return np.asarray((planes - np.array(mean)[:, None, None]) / np.array(std)[:, None, None])


def pillow(image: Array, width: int, height: int, cubic: bool = False) -> Array:
    """PIL.Image.resize() of a BGR photo, to RGB."""
    pil: Any = pytest.importorskip("PIL.Image", reason="Pillow is not in this environment")
    kind = pil.BICUBIC if cubic else pil.BILINEAR
    # One side after the other: which is first where both change differs among releases of Pillow.
    wider = pil.fromarray(np.ascontiguousarray(image[:, :, ::-1])).resize((width, image.shape[0]), kind)
    return np.asarray(wider.resize((width, height), kind))


def yolox(image: Array, size: Size) -> Array:
    """YOLOX yolox/data/data_augment.py preproc()."""
    padded = np.full((*size, 3), 114, np.uint8)
    r = min(size[0] / image.shape[0], size[1] / image.shape[1])
    height, width = int(image.shape[0] * r), int(image.shape[1] * r)
    padded[:height, :width] = cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR)
    return np.ascontiguousarray(padded.transpose(2, 0, 1), np.float32)


def nanodet(image: Array, size: Size) -> Array:
    """NanoDet demo_openvino and demo_mnn resize so; data/transform/color.py _normalize() with the config's numbers."""
    scaled = cv2.resize(image, size[::-1]).astype(np.float32)
    mean, std = np.array([103.53, 116.28, 123.675], np.float32), np.array([57.375, 57.12, 58.395], np.float32)
    return np.asarray(((scaled - mean) / std).transpose(2, 0, 1))


def stretched(image: Array, size: Size, mean: Sequence[float] = (0,) * 3, std: Sequence[float] = (1,) * 3) -> Array:
    """RT-DETR, D-FINE: Resize, ConvertPILImage(scale); torchvision also normalises."""
    return normalized(pillow(image, size[1], size[0]), mean, std)


def rfdetr_input(image: Array, size: Size) -> Array:
    """RF-DETR detr.py predict(): F.resize(antialias=False) of an RGB tensor in 0 to 1, F.normalize()."""
    rows, columns = image[:, :, ::-1].astype(np.float64), np.arange(max(size)) + 0.5
    for axis, pixels in enumerate(size):  # area_pixel_compute_source_index of ATen/native/UpSample.h
        sides = image.shape[axis]
        place = (columns[:pixels] * sides / pixels - 0.5).clip(0, sides - 1)
        part = (place % 1).reshape(-1, *[1] * (2 - axis))
        first, second = (rows.take(each.astype(int), axis) for each in (np.floor(place), np.ceil(place)))
        rows = first * (1 - part) + second * part
    return normalized(rows, *IMAGENET)


def cropped(
    image: Array, size: Size, shorter: int, cubic: bool = False, numbers: Sequence[Sequence[float]] = IMAGENET
) -> Array:
    """torchvision transforms/_presets.py ImageClassification, and timm's transforms_imagenet_eval(): the same steps."""
    height, width = image.shape[:2]
    new = (shorter, int(shorter * width / height)) if height <= width else (int(shorter * height / width), shorter)
    scaled = pillow(image, new[1], new[0], cubic)
    top, left = (round((side - cut) / 2.0) for side, cut in zip(new, size, strict=True))
    return normalized(scaled[top : top + size[0], left : left + size[1]], *numbers)


def textline(image: Array, size: Size) -> Array:
    """PaddleClas ResizeImage(size=[160, 80]) of an RGB image, NormalizeImage."""
    return normalized(cv2.resize(np.ascontiguousarray(image[:, :, ::-1]), size[::-1]), *IMAGENET)


def ppocr(image: Array, size: Size) -> Array:
    """PaddleOCR DetResizeForTest(resize_long=960) of a BGR image, but filled where it rounds to 32; NormalizeImage."""
    ratio = size[0] / max(image.shape[:2])
    scaled = cv2.resize(image, (int(image.shape[1] * ratio), int(image.shape[0] * ratio)))
    padded = np.zeros((*size, 3), np.uint8)
    padded[: scaled.shape[0], : scaled.shape[1]] = scaled
    return normalized(padded, *IMAGENET)


INPUTS: Final[dict[str, Callable[[Array, Size], Array]]] = {
    **dict.fromkeys(("yolox_nano", "yolox_s"), yolox),
    "nanodet_plus_m_416": nanodet,
    **dict.fromkeys(("rtdetr_r18vd", "dfine_n"), stretched),
    "rfdetr_nano": rfdetr_input,
    "deeplabv3_mobilenet_v3_large": partial(stretched, mean=IMAGENET[0], std=IMAGENET[1]),
    "resnet18": partial(cropped, shorter=256),
    **dict.fromkeys(("resnet50", "mobilenet_v3_large"), partial(cropped, shorter=232)),
    "convnext_tiny": partial(cropped, shorter=236),
    **dict.fromkeys(("efficientnet_b0", "mobilenetv4_conv_small"), partial(cropped, shorter=256, cubic=True)),
    "vit_tiny_patch16_224": partial(cropped, shorter=248, cubic=True, numbers=INCEPTION),
    "ppocrv5_textline_orientation": textline,
    "ppocrv5_mobile_det": ppocr,
}


# ---- behind the network -------------------------------------------------------------------------------------------


def rows_of(boxes: Array, scores: Array, classes: Array) -> Array:
    """Rows [n, 6], best first."""
    rows = np.concatenate([boxes, scores[:, None], classes[:, None]], axis=1).astype(np.float64)
    return np.asarray(rows[np.argsort(-rows[:, 4], kind="stable")])


def batched_nms(rows: Array, iou: float, most: int) -> Array:
    """torchvision.ops.batched_nms() of rows that are sorted: boxes of one class suppress each other."""
    kept: list[Array] = []
    while len(rows) and len(kept) < most:
        best, rows = rows[0], rows[1:]
        kept.append(best)
        sides = (np.minimum(best[2:4], rows[:, 2:4]) - np.maximum(best[:2], rows[:, :2])).clip(0)
        shared, areas = sides.prod(axis=1), (rows[:, 2:4] - rows[:, :2]).prod(axis=1)
        union = (best[2] - best[0]) * (best[3] - best[1]) + areas - shared
        rows = rows[(rows[:, 5] != best[5]) | (shared <= iou * union)]
    return np.asarray(kept, np.float64).reshape(-1, 6)


def mapped(rows: Array, shape: Size, scale: Sequence[float], pad: Sequence[float] = (0, 0)) -> Array:
    """Boxes back in the photo: less the border, over the scale (x, y), clipped."""
    rows = rows.copy()
    for column, axis in ((0, 0), (1, 1), (2, 0), (3, 1)):
        rows[:, column] = ((rows[:, column] - pad[axis]) / scale[axis]).clip(0, shape[1 - axis])
    return rows


def from_letterbox(rows: Array, shape: Size, size: Size) -> Array:
    """scale_boxes() of Ultralytics utils/ops.py."""
    gain = min(size[0] / shape[0], size[1] / shape[1])
    return mapped(rows, shape, (gain, gain), ((size[1] - shape[1] * gain) / 2, (size[0] - shape[0] * gain) / 2))


def corners(boxes: Array) -> Array:
    """Centre and size to corners."""
    return np.concatenate([boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, :2] + boxes[:, 2:] / 2], axis=1)


def pairs(scores: Array, threshold: float, several: bool) -> tuple[Array, Array]:
    """Rows and classes over a threshold: all of a row, or its best."""
    if several:
        rows, classes = np.nonzero(scores > threshold)
        return rows, classes
    best = scores.argmax(axis=1)
    rows = np.nonzero(scores.max(axis=1) > threshold)[0]
    return rows, best[rows]


def ultralytics(outputs: Sequence[Array], shape: Size, op: Any, size: Size) -> Array:
    """non_max_suppression() of utils/nms.py on [1, 4 + C, A]."""
    head = outputs[0][0].T.astype(np.float64)
    rows, classes = pairs(head[:, 4:], op.score_threshold, op.multi_label)
    found = rows_of(corners(head[rows, :4]), head[rows, 4 + classes], classes)
    return from_letterbox(batched_nms(found, op.iou_threshold, 300), shape, size)


def end2end(outputs: Sequence[Array], shape: Size, op: Any, size: Size) -> Array:
    """The end2end branch of non_max_suppression()."""
    rows = outputs[0][0]
    return from_letterbox(rows[rows[:, 4] > op.score_threshold].astype(np.float64), shape, size)


def yolox_boxes(outputs: Sequence[Array], shape: Size, op: Any, size: Size) -> Array:
    """demo_postprocess() of yolox/utils/demo_utils.py, postprocess() of yolox/utils/boxes.py."""
    cells = [
        (x, y, stride) for stride in (8, 16, 32) for y in range(size[0] // stride) for x in range(size[1] // stride)
    ]
    grid, strides = np.array(cells)[:, :2], np.array(cells)[:, 2:]
    head = outputs[0][0].astype(np.float64)
    boxes = np.concatenate([(head[:, :2] + grid) * strides, np.exp(head[:, 2:4]) * strides], axis=1)
    rows, classes = pairs(head[:, 5:] * head[:, 4:5], op.score_threshold, False)
    found = rows_of(corners(boxes[rows]), head[rows, 4] * head[rows, 5 + classes], classes)
    ratio = min(size[0] / shape[0], size[1] / shape[1])
    return mapped(batched_nms(found, op.iou_threshold, op.detections), shape, (ratio, ratio))


def nanodet_boxes(outputs: Sequence[Array], shape: Size, op: Any, size: Size) -> Array:
    """get_bboxes() and multiclass_nms() of NanoDet: every class over the threshold, the best 100."""
    head = outputs[0][0].astype(np.float64)
    cells = [
        (x * stride, y * stride, stride)
        for stride in (8, 16, 32, 64)
        for y in range(-(-size[0] // stride))
        for x in range(-(-size[1] // stride))
    ]
    points, strides = np.array(cells)[:, :2], np.array(cells)[:, 2:]
    bins = np.exp(head[:, -32:].reshape(-1, 4, 8))
    sides = (bins * np.arange(8)).sum(axis=2) / bins.sum(axis=2) * strides
    boxes = np.concatenate([points - sides[:, :2], points + sides[:, 2:]], axis=1).clip(0, [*size[::-1]] * 2)
    rows, classes = pairs(head[:, :-32], op.score_threshold, True)
    found = batched_nms(rows_of(boxes[rows], head[rows, classes], classes), 0.6, 100)
    return mapped(found, shape, (size[1] / shape[1], size[0] / shape[0]))


def rtdetr(outputs: Sequence[Array], shape: Size, op: Any, size: Size) -> Array:
    """draw() of RT-DETR's and D-FINE's inference scripts: what of the graph's results is over thrh."""
    boxes, scores, labels = (each[0] for each in outputs)
    over = scores > op.score_threshold
    return mapped(rows_of(boxes[over], scores[over], labels[over]), shape, (1, 1))


def rfdetr(outputs: Sequence[Array], shape: Size, op: Any, size: Size) -> Array:
    """PostProcess of rfdetr/models/lwdetr.py: the best 300 of queries and logits; predict(): over a threshold."""
    logits, boxes = (each[0].astype(np.float64) for each in outputs)
    chances = (1 / (1 + np.exp(-logits))).reshape(-1)
    best = np.argsort(-chances, kind="stable")[:300]
    best = best[chances[best] > op.score_threshold]
    scaled = corners(boxes[best // logits.shape[1]]) * [*shape[::-1], *shape[::-1]]
    return mapped(rows_of(scaled, chances[best], best % logits.shape[1]), shape, (1, 1))


def mask_of_today(outputs: Sequence[Array], shape: Size, op: Any, size: Size) -> Array:
    """The argmax of torchvision's references/segmentation; OpenCV brings it to the photo, which they do not."""
    ids = outputs[0][0].argmax(axis=0).astype(np.uint8)
    return np.asarray(cv2.resize(ids, shape[::-1], interpolation=cv2.INTER_NEAREST))


DETECTORS: Final[dict[str, Callable[..., Array]]] = {
    **dict.fromkeys(("yolov8n", "yolov8s", "yolo11n", "yolo11s", "yolo12n"), ultralytics),
    "yolo26n": end2end,
    **dict.fromkeys(("yolox_nano", "yolox_s"), yolox_boxes),
    "nanodet_plus_m_416": nanodet_boxes,
    **dict.fromkeys(("rtdetr_r18vd", "dfine_n"), rtdetr),
    "rfdetr_nano": rfdetr,
}


# ---- outputs of the kind that each network gives ------------------------------------------------------------------


def things(random: np.random.Generator, count: int, size: Size) -> Array:
    """Boxes [count, 4], centre and size, around 40 things in an input."""
    centres = random.uniform(0.25, 0.75, (40, 2)) * size[::-1]
    sides = random.uniform(0.03, 0.3, (40, 2)) * size[::-1]
    boxes = np.concatenate([centres, sides], axis=1)[random.integers(0, 40, count)]
    return np.asarray(boxes * random.normal(1, 0.02, (count, 4)))


def invented(name: str, shape: Size, size: Size, classes: int) -> list[Array]:
    """Outputs with a batch of 1, in the order that the spec takes them."""
    random = np.random.default_rng(7)
    count = {"yolox_nano": 3549, "yolox_s": 8400, "nanodet_plus_m_416": 3598}.get(name, 300)
    scores = random.uniform(0, 1, (count, classes)) ** 12
    match DETECTORS.get(name, name):
        case detector if detector is ultralytics:
            made = [np.concatenate([things(random, count, size), scores], axis=1).T]
        case detector if detector is end2end:
            best = np.sort(random.uniform(0, 1, 300))[::-1, None]
            made = [
                np.concatenate([corners(things(random, 300, size)), best, random.integers(0, 80, (300, 1))], axis=1)
            ]
        case detector if detector is yolox_boxes:
            geometry, objectness = random.normal(0.5, 0.5, (count, 4)), random.uniform(0, 1, (count, 1)) ** 8
            made = [np.concatenate([geometry, objectness, scores**0.1], axis=1)]
        case detector if detector is nanodet_boxes:
            made = [np.concatenate([scores**2, random.normal(0, 2, (count, 32))], axis=1)]
        case detector if detector is rtdetr:
            best, labels = np.sort(random.uniform(0, 1, 300))[::-1], random.integers(0, 80, 300)
            made = [corners(things(random, 300, shape)), best, labels]
        case detector if detector is rfdetr:
            made = [random.normal(-4, 2, (300, classes)), things(random, 300, size) / [*size[::-1], *size[::-1]]]
        case "deeplabv3_mobilenet_v3_large":
            coarse = random.normal(size=(classes, 9, 9)).astype(np.float32)
            made = [np.stack([cv2.resize(each, size[::-1]) for each in coarse])]
        case "ppocrv5_textline_orientation":
            made = [np.array([0.2, 0.8])]
        case _:
            made = [random.normal(0, 3, classes)]
    return [np.ascontiguousarray(each, np.float32)[np.newaxis] for each in made]
