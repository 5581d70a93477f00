"""What the zoo does before and behind each network, against the home project's own way, written anew here.

Nothing is shared with qtriton.runtime but the photos and, where real weights are at hand, the raw outputs of one run.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeAlias

import cv2
import numpy as np
import numpy.typing as npt
import onnxruntime
import pytest

from qtriton.runtime.post import PostOp, postprocess
from qtriton.runtime.pre import Frame, extra_input, preprocess
from qtriton.runtime.values import Results
from qtriton.spec import ModelSpec
from qtriton.spec_files import classes, load_spec, zoo_names

from .homes_of_today import DETECTORS, invented, mask_of_today
from .homes_of_today import INPUTS as INPUTS_OF_TODAY

Array: TypeAlias = npt.NDArray[Any]

ZOO: Final = Path(__file__).parents[3] / "shared" / "zoo"
PHOTOS: Final = ("bus.jpg", "dog.jpg", "zidane.jpg")
#: The photos, and a part of one whose size no scale divides.
GIVEN: Final = (*((name, False) for name in PHOTOS), ("bus.jpg", True))
IMAGENET: Final = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
#: Trained here, so this project is its home.
OURS: Final = "demo_digits"
#: Its rules behind the network are in test_text.py.
TEXT: Final = "ppocrv5_mobile_det"
#: float32 rounds (pixel / 255 - mean) / std and pixel * (1 / 255 / std) - mean / std differently, by a few units in
#: the last place.
ROUNDING: Final = 1e-6


class Photo(NamedTuple):
    """An encoded image and its pixels as every home project reads them, BGR."""

    data: bytes
    pixels: Array


def photo(name: str, odd: bool = False) -> Photo:
    path = ZOO / "data" / "photos" / name
    if not path.is_file():
        pytest.skip("the photos (../shared/zoo) are not on this machine")
    pixels = cv2.imread(str(path))
    if not odd:
        return Photo(path.read_bytes(), pixels)
    pixels = np.ascontiguousarray(pixels[3:-44, 10:-61])
    return Photo(cv2.imencode(".png", pixels)[1].tobytes(), pixels)


# ---- before the network -------------------------------------------------------------------------------------------


def letterboxed(image: Array, size: tuple[int, int]) -> Array:
    """ultralytics/yolov5 utils/augmentations.py, meituan/YOLOv6 data_augment.py, WongKinYiu/yolov7 utils/datasets.py.

    letterbox(auto=False, scaleup=True), then BGR to RGB, HWC to CHW and / 255 as in detect.py and core/inferer.py.
    """
    height, width = image.shape[:2]
    r = min(size[0] / height, size[1] / width)
    new_unpad = round(width * r), round(height * r)
    dw, dh = (size[1] - new_unpad[0]) / 2, (size[0] - new_unpad[1]) / 2
    if (width, height) != new_unpad:
        image = cv2.resize(image, new_unpad, interpolation=cv2.INTER_LINEAR)
    top, bottom, left, right = round(dh - 0.1), round(dh + 0.1), round(dw - 0.1), round(dw + 0.1)
    image = cv2.copyMakeBorder(image, top, bottom, left, right, cv2.BORDER_CONSTANT, value=(114, 114, 114))
    tensor = np.ascontiguousarray(image.transpose(2, 0, 1)[::-1]).astype(np.float32)
    tensor /= 255
    return tensor


def paddleclas(image: Array, size: tuple[int, int]) -> Array:
    """PaddleClas deploy/python/preprocess.py with deploy/configs/inference_cls.yaml.

    ResizeImage(resize_short=256), CropImage(224), NormalizeImage(scale=0.00392157), ToCHWImage.
    """
    image = image[:, :, ::-1]
    percent = 256.0 / min(image.shape[:2])
    image = cv2.resize(image, (round(image.shape[1] * percent), round(image.shape[0] * percent)))
    top, left = (image.shape[0] - size[0]) // 2, (image.shape[1] - size[1]) // 2
    image = image[top : top + size[0], left : left + size[1]]
    mean, std = (np.array(each).reshape(1, 1, 3).astype("float32") for each in IMAGENET)
    tensor: Array = ((image.astype("float32") * np.float32(0.00392157) - mean) / std).transpose(2, 0, 1)
    return tensor


def paddledetection(image: Array, size: tuple[int, int]) -> Array:
    """PaddleDetection deploy/python/preprocess.py: Resize(keep_ratio=False, interp=2), NormalizeImage, Permute."""
    image = cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
    fy, fx = size[0] / float(image.shape[0]), size[1] / float(image.shape[1])
    image = cv2.resize(image, None, None, fx=fx, fy=fy, interpolation=2).astype(np.float32)
    image *= 1.0 / 255.0
    image -= np.array(IMAGENET[0])[np.newaxis, np.newaxis, :]
    image /= np.array(IMAGENET[1])[np.newaxis, np.newaxis, :]
    return image.transpose((2, 0, 1))


def paddleseg(image: Array, size: tuple[int, int]) -> Array:
    """PaddleSeg paddleseg/transforms: to RGB, resize() linear, normalize(mean=0.5, std=0.5)."""
    image = cv2.resize(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), size[::-1], interpolation=cv2.INTER_LINEAR)
    tensor: Array = image.astype(np.float32) / 255.0
    tensor -= np.array((0.5, 0.5, 0.5))
    tensor /= np.array((0.5, 0.5, 0.5))
    return tensor.transpose(2, 0, 1)


def cgnet(image: Array, size: tuple[int, int]) -> Array:
    """CGNet dataset/camvid.py CamVidValDataSet; its images have the network's size, so the resizing is ours."""
    tensor = np.asarray(cv2.resize(image, size[::-1]), np.float32)[:, :, ::-1]
    planes: Array = (tensor - np.array((110.08, 108.23, 105.03))).transpose(2, 0, 1)
    return planes


def mobilenet_caffe(image: Array, size: tuple[int, int]) -> Array:
    """shicai/MobileNet-Caffe README.md (256xN, single centre crop) and eval_image.py (BGR, mean, input_scale)."""
    shorter = min(image.shape[:2])
    image = cv2.resize(image, tuple(round(side * 256 / shorter) for side in image.shape[1::-1]))
    top, left = (image.shape[0] - size[0]) // 2, (image.shape[1] - size[1]) // 2
    planes = image[top : top + size[0], left : left + size[1]].astype(np.float32).transpose(2, 0, 1)
    planes -= np.array([103.94, 116.78, 123.68], np.float32)[:, np.newaxis, np.newaxis]
    return planes * np.float32(0.017)


def torchvision_cifar(image: Array, size: tuple[int, int]) -> Array:
    """akamaster/pytorch_resnet_cifar10 trainer.py: ToTensor, Normalize; its images are 32 x 32, so we resize."""
    planes = cv2.resize(image, size[::-1])[:, :, ::-1].transpose(2, 0, 1).astype(np.float32) / np.float32(255)
    mean, std = (np.array(each, np.float32)[:, None, None] for each in IMAGENET)
    normalized: Array = (planes - mean) / std
    return normalized


INPUTS: Final[dict[str, Callable[[Array, tuple[int, int]], Array]]] = {
    **dict.fromkeys(("yolov5n", "yolov5s", "yolov6lite_l0", "yolov6s", "yolov7"), letterboxed),
    **dict.fromkeys(("resnet50_vd", "mobilenet_v1_ssld"), paddleclas),
    **dict.fromkeys(("ppyoloe_crn_l_300e_coco", "picodet_xs_416"), paddledetection),
    "pp_liteseg_stdc1_cityscapes": paddleseg,
    "cgnet_camvid": cgnet,
    "mobilenet_v1": mobilenet_caffe,
    "resnet56_cifar10": torchvision_cifar,
    **dict.fromkeys(("yolov8n", "yolov8s", "yolo11n", "yolo11s", "yolo12n", "yolo26n"), letterboxed),
    **INPUTS_OF_TODAY,
}


def test_every_model_has_a_home() -> None:
    assert set(INPUTS) == set(zoo_names()) - {OURS} == set(BEHIND) | {TEXT}


@pytest.mark.parametrize(("image", "odd"), GIVEN)
@pytest.mark.parametrize("name", INPUTS)
def test_the_input_tensor(name: str, image: str, odd: bool) -> None:
    spec, (data, pixels) = load_spec(name), photo(image, odd)
    frame = preprocess(data, spec.preprocess)
    expected = INPUTS[name](pixels, spec.input.dims[1:])
    assert frame.pixels.shape == expected.shape == spec.input.dims
    assert np.abs(frame.pixels - expected).max() <= ROUNDING * np.abs(expected).max()


def test_the_scale_factor_of_pp_yoloe() -> None:
    """(y, x), as PaddleDetection's Resize.generate_scale() gives it."""
    spec, (data, pixels) = load_spec("ppyoloe_crn_l_300e_coco"), photo("bus.jpg")
    height, width = pixels.shape[:2]
    found = extra_input(spec.extra_inputs["scale_factor"], preprocess(data, spec.preprocess))
    np.testing.assert_array_equal(found, np.array([640 / float(height), 640 / float(width)]).astype("float32"))


# ---- behind the network -------------------------------------------------------------------------------------------


def torchvision_nms(boxes: Array, scores: Array, iou: float, most: int) -> list[int]:
    """torchvision.ops.nms: greedy, a box goes when its IoU with a better one that stays is above the threshold.

    Only the best `most` that stay are looked for: no caller takes more.
    """
    keep: list[int] = []
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    gone = np.zeros(len(boxes), bool)
    for i in np.argsort(-scores, kind="stable"):
        if gone[i] or len(keep) == most:
            continue
        keep.append(int(i))
        width = (np.minimum(boxes[i, 2], boxes[:, 2]) - np.maximum(boxes[i, 0], boxes[:, 0])).clip(0)
        height = (np.minimum(boxes[i, 3], boxes[:, 3]) - np.maximum(boxes[i, 1], boxes[:, 1])).clip(0)
        gone |= width * height / (areas[i] + areas - width * height) > iou
    return keep


def yolo(
    outputs: Sequence[Array],
    shape: tuple[int, int],
    op: Any,
    size: tuple[int, int],
    *,
    max_wh: int = 7680,
    class_too: bool = False,
) -> Array:
    """non_max_suppression() and scale_boxes(): [n, 6] of x1, y1, x2, y2, score, class, best first.

    ultralytics/yolov5 utils/general.py; WongKinYiu/yolov7 utils/general.py has max_wh 4096 and scale_coords();
    meituan/YOLOv6 yolov6/utils/nms.py has 4096 too, also wants the class above the threshold, and Inferer.rescale().
    """
    x = outputs[0].reshape(-1, outputs[0].shape[-1])
    candidates = x[:, 4] > op.score_threshold
    if class_too:
        candidates &= x[:, 5:].max(axis=1) > op.score_threshold
    x = x[candidates].copy()
    x[:, 5:] *= x[:, 4:5]
    box = np.stack([x[:, 0] - x[:, 2] / 2, x[:, 1] - x[:, 3] / 2, x[:, 0] + x[:, 2] / 2, x[:, 1] + x[:, 3] / 2], axis=1)
    if op.multi_label:
        i, j = (x[:, 5:] > op.score_threshold).nonzero()
    else:
        i, j = np.arange(len(x)), x[:, 5:].argmax(1)
        above = x[i, 5 + j] > op.score_threshold
        i, j = i[above], j[above]
    found: Array = np.concatenate([box[i], x[i, 5 + j, None], j[:, None].astype(np.float32)], axis=1)
    found = found[np.argsort(-found[:, 4], kind="stable")[:30000]]
    # In double: beside 79 * 7680 a float32 keeps a sixteenth of a pixel, enough to decide an IoU at the threshold.
    offset = found[:, 5:6].astype(np.float64) * max_wh
    found = found[torchvision_nms(found[:, :4] + offset, found[:, 4], op.iou_threshold, 300)]
    gain = min(size[0] / shape[0], size[1] / shape[1])
    found[:, [0, 2]] -= (size[1] - shape[1] * gain) / 2
    found[:, [1, 3]] -= (size[0] - shape[0] * gain) / 2
    found[:, :4] /= gain
    found[:, [0, 2]] = found[:, [0, 2]].clip(0, shape[1])
    found[:, [1, 3]] = found[:, [1, 3]].clip(0, shape[0])
    return found


def picodet(outputs: Sequence[Array], shape: tuple[int, int], op: Any, size: tuple[int, int]) -> Array:
    """PaddleDetection deploy/python/picodet_postprocess.py PicoDetPostProcess, with nms_threshold of infer_cfg.yml."""
    decoded, confidences = [], []
    for stride, score, distribution in zip((8, 16, 32, 64), outputs[:4], outputs[4:], strict=True):
        ww, hh = np.meshgrid(np.arange(size[1] / stride), np.arange(size[0] / stride))
        x, y = (ww.flatten() + 0.5) * stride, (hh.flatten() + 0.5) * stride
        bins = distribution[0].reshape(-1, 8).astype(np.float64)
        softmax = np.exp(bins) / np.exp(bins).sum(axis=1, keepdims=True)
        distance = (softmax * np.arange(8)).sum(axis=1).reshape(-1, 4) * stride
        best = np.argsort(score[0].max(axis=1))[::-1][:1000]
        decoded.append((np.stack([x, y, x, y], axis=1) + [-1, -1, 1, 1] * distance)[best])
        confidences.append(score[0][best])
    boxes, scores, picked = np.concatenate(decoded), np.concatenate(confidences), []
    for label in range(scores.shape[1]):
        above = scores[:, label] > op.score_threshold
        of_class = np.concatenate([boxes[above], scores[above, label, None]], axis=1)
        of_class = of_class[np.argsort(of_class[:, 4])[-200:]]
        kept = of_class[torchvision_nms(of_class, of_class[:, 4], op.iou_threshold, 100)]
        picked.append(np.concatenate([kept, np.full((len(kept), 1), label)], axis=1))
    found: Array = np.concatenate(picked)
    found[:, [0, 2]] = found[:, [0, 2]].clip(0, size[1]) / (size[1] / shape[1])
    found[:, [1, 3]] = found[:, [1, 3]].clip(0, size[0]) / (size[0] / shape[0])
    return found


def ppyoloe(outputs: Sequence[Array], shape: tuple[int, int], op: Any, size: tuple[int, int]) -> Array:
    """PaddleDetection deploy/python: rows of class, score, box; visualize.py keeps class > -1 and score > threshold."""
    rows: Array = outputs[0]
    rows = rows[(rows[:, 1] > op.score_threshold) & (rows[:, 0] > -1)]
    return rows[:, [2, 3, 4, 5, 1, 0]]


def topk(outputs: Sequence[Array], shape: tuple[int, int], op: Any, size: tuple[int, int]) -> Array:
    """PaddleClas deploy/python/postprocess.py Topk: [k, 2] of class and score."""
    probabilities = outputs[0][0]
    index = probabilities.argsort(axis=0)[-op.k :][::-1].astype("int32")
    return np.stack([index, probabilities[index]], axis=1)


def logits_topk(outputs: Sequence[Array], shape: tuple[int, int], op: Any, size: tuple[int, int]) -> Array:
    """A network that ends in logits: its probabilities are torch.nn.functional.softmax."""
    powers = np.exp(outputs[0].astype(np.float64))
    return topk([powers / powers.sum()], shape, op, size)


def nearest_mask(outputs: Sequence[Array], shape: tuple[int, int], op: Any, size: tuple[int, int]) -> Array:
    """np.argmax, as PaddleSeg deploy/python/infer.py and CGNet camvid_test.py, then the nearest pixel.

    PaddleSeg core/infer.py reverse_transform(mode='nearest'): pixel i of the original is floor(i * scale) of the map.
    """
    ids = np.argmax(outputs[0], axis=1)[0]
    rows, columns = (np.arange(new) * old // new for new, old in zip(shape, ids.shape, strict=True))
    return np.asarray(ids[rows][:, columns])


BEHIND: Final[dict[str, Callable[..., Array]]] = {
    **dict.fromkeys(("yolov5n", "yolov5s"), yolo),
    **dict.fromkeys(("yolov6lite_l0", "yolov6s"), partial(yolo, max_wh=4096, class_too=True)),
    "yolov7": partial(yolo, max_wh=4096),
    "picodet_xs_416": picodet,
    "ppyoloe_crn_l_300e_coco": ppyoloe,
    **dict.fromkeys(("resnet50_vd", "mobilenet_v1_ssld", "mobilenet_v1"), topk),
    "resnet56_cifar10": logits_topk,
    **dict.fromkeys(("cgnet_camvid", "pp_liteseg_stdc1_cityscapes"), nearest_mask),
    "deeplabv3_mobilenet_v3_large": mask_of_today,
    **DETECTORS,
    **dict.fromkeys(("resnet18", "resnet50", "mobilenet_v3_large", "efficientnet_b0", "convnext_tiny"), logits_topk),
    **dict.fromkeys(("mobilenetv4_conv_small", "vit_tiny_patch16_224"), logits_topk),
    "ppocrv5_textline_orientation": topk,
}


@cache
def session(name: str) -> Any:
    path = ZOO / "models" / f"{name}.onnx"
    if not path.is_file():
        pytest.skip("the real models (../shared/zoo) are not on this machine")
    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])


def invented_yolo(seed: int) -> list[Array]:
    """A decoded head around 40 things in the picture, each found by many anchors and by a few classes."""
    random = np.random.default_rng(seed)
    things = np.concatenate([random.uniform(150, 490, (40, 2)), random.uniform(20, 200, (40, 2))], axis=1)
    rows = things[random.integers(0, 40, 2000)] * random.normal(1, 0.05, (2000, 4))
    scores = random.uniform(0, 1, (2000, 81)) ** 12
    return [np.concatenate([rows, scores], axis=1).astype(np.float32)[np.newaxis]]


def invented_rows(shape: tuple[int, int]) -> list[Array]:
    """What multiclass_nms3 gives for an image: 300 rows, the last of them empty, and their number."""
    random = np.random.default_rng(3)
    corner, side = random.uniform(0, 0.5, (300, 2)), random.uniform(0.01, 0.5, (300, 2))
    boxes = np.concatenate([corner, corner + side], axis=1) * [*shape[::-1], *shape[::-1]]
    classes = np.where(np.arange(300) < 290, random.integers(0, 80, 300), -1)
    rows = np.concatenate([classes[:, None], random.uniform(0, 1, (300, 1)), boxes], axis=1)
    return [rows.astype(np.float32), np.array([300], np.int32)]


def raw_outputs(spec: ModelSpec, frame: Frame) -> list[Array]:
    """One run of the real weights; where there are none, invented values of the same kind."""
    random = np.random.default_rng(5)
    match spec.name:
        case "yolov5s" | "yolov7":
            return invented_yolo(3)
        case "yolov6s":
            return invented_yolo(1)
        case "ppyoloe_crn_l_300e_coco":
            return invented_rows((int(frame.geometry.height), int(frame.geometry.width)))
        case "resnet50_vd" | "mobilenet_v1_ssld":
            return [random.dirichlet(np.full(1000, 0.01), 1).astype(np.float32)]
        case "pp_liteseg_stdc1_cityscapes":
            coarse = random.normal(size=(19, 16, 32)).astype(np.float32)
            return [np.stack([cv2.resize(each, (1024, 512)) for each in coarse])[np.newaxis]]
        case name if name in INPUTS_OF_TODAY or name in DETECTORS:
            shape = int(frame.geometry.height), int(frame.geometry.width)
            return invented(name, shape, spec.input.dims[1:], len(classes(spec)))
        case _:
            made: list[Array] = session(spec.name).run(None, {spec.input.name: frame.pixels[np.newaxis]})
            return made


def results_of(spec: ModelSpec, outputs: Sequence[Array], frame: Frame, ops: Sequence[PostOp]) -> Results:
    return postprocess([each[0] for each in outputs] if spec.max_batch_size else outputs, frame.geometry, ops)


def measured(spec: ModelSpec) -> tuple[PostOp, ...]:
    """The operations with the settings for measuring accuracy."""
    return (*spec.postprocess[:-1], replace(spec.postprocess[-1], **spec.evaluation))


def ordered(found: Array) -> Array:
    """Rows by class, then score, then place: two NMS may list them in different orders."""
    rows: Array = found[np.lexsort((found[:, 1], found[:, 0], -found[:, 4], found[:, 5]))]
    return rows


def detections(results: Results) -> Array:
    count = int(results["num_detections"][0])
    assert not results["scores"][count:].any()
    columns = (results["boxes"], results["scores"][:, np.newaxis], results["classes"][:, np.newaxis])
    rows: Array = np.concatenate(columns, axis=1)[:count]
    return rows


def names_of(task: str) -> list[str]:
    return [name for name in BEHIND if load_spec(name).task == task]


def compare_boxes(name: str, given: Photo, measuring: bool, within: float) -> None:
    spec, shape = load_spec(name), given.pixels.shape[:2]
    ops = measured(spec) if measuring else spec.postprocess
    frame = preprocess(given.data, spec.preprocess)
    outputs = raw_outputs(spec, frame)
    found = detections(results_of(spec, outputs, frame, ops))
    expected = BEHIND[name](outputs, shape, ops[-1], spec.input.dims[1:])
    assert len(found) == len(expected) > 0
    found, expected = ordered(found), ordered(expected)
    np.testing.assert_allclose(found[:, 4:], expected[:, 4:], rtol=1e-6)
    np.testing.assert_allclose(found[:, :4], expected[:, :4], atol=within, rtol=1e-6)


@pytest.mark.parametrize("image", PHOTOS)
@pytest.mark.parametrize("name", names_of("detection"))
def test_the_boxes(name: str, image: str) -> None:
    compare_boxes(name, photo(image), measuring=False, within=2e-3)


@pytest.mark.parametrize("name", names_of("detection"))
def test_the_boxes_of_a_size_that_must_be_rounded(name: str) -> None:
    """The YOLOs map back by the ratio and the border before rounding, qtriton by those that the pixels have.

    That differs by less than a pixel of the model's input.
    """
    given, dims = photo("bus.jpg", odd=True), load_spec(name).input.dims
    ratio = min(size / side for size, side in zip(dims[1:], given.pixels.shape[:2], strict=True))
    compare_boxes(name, given, measuring=False, within=1 / ratio)


# Without PicoDet: its accuracy is published for the NMS in its graph, which picodet_postprocess.py is not.
@pytest.mark.parametrize("name", sorted(set(names_of("detection")) - {"picodet_xs_416"}))
def test_the_boxes_that_accuracy_is_measured_with(name: str) -> None:
    """As val.py, eval.py and test.py: hundreds of boxes, several classes a box."""
    compare_boxes(name, photo("bus.jpg"), measuring=True, within=2e-3)


@pytest.mark.parametrize("image", PHOTOS)
@pytest.mark.parametrize("name", names_of("classification"))
def test_the_classes(name: str, image: str) -> None:
    spec, (data, pixels) = load_spec(name), photo(image)
    frame = preprocess(data, spec.preprocess)
    outputs = raw_outputs(spec, frame)
    results = results_of(spec, outputs, frame, spec.postprocess)
    expected = BEHIND[name](outputs, pixels.shape[:2], spec.postprocess[-1], spec.input.dims[1:])
    np.testing.assert_array_equal(results["classes"], expected[:, 0])
    np.testing.assert_allclose(results["scores"], expected[:, 1], rtol=1e-5)


@pytest.mark.parametrize(("image", "odd"), GIVEN)
@pytest.mark.parametrize("name", names_of("segmentation"))
def test_the_mask(name: str, image: str, odd: bool) -> None:
    spec, (data, pixels) = load_spec(name), photo(image, odd)
    frame, shape = preprocess(data, spec.preprocess), pixels.shape[:2]
    outputs = raw_outputs(spec, frame)
    expected = BEHIND[name](outputs, shape, spec.postprocess[-1], spec.input.dims[1:])
    mask = results_of(spec, outputs, frame, spec.postprocess)["mask"]
    assert (mask.dtype, mask.shape) == (np.dtype(np.uint8), shape)
    np.testing.assert_array_equal(mask, expected)
    # An export that ends in an argmax gives the same.
    ids = outputs[0].argmax(axis=1).astype(np.int32)
    np.testing.assert_array_equal(results_of(spec, [ids], frame, spec.postprocess)["mask"], expected)
