"""Models of Ultralytics, as `model.export(format="onnx")` writes them; expected is what its `predict` makes of it."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Final

os.environ |= {"YOLO_AUTOINSTALL": "false", "YOLO_OFFLINE": "true"}  # before the import

import cv2
import torch
import ultralytics
import yaml
from torch import Tensor, nn
from ultralytics import RTDETR, YOLO

from today.photos import batch
from today.row import Pipeline, Results, Row
from today.settling import SEED, make_rare, settle, spread
from today.trained import SIZE as TRAINED_SIZE
from today.trained import trained

SIZE: Final = 320
#: The random masks of YOLOv8n-seg change from one pixel of a prototype to the next, in 300 boxes as wide as a photo: in
#: the usual 80 cells 17 of them lose more than the edge, in as many cells as prototypes have in 640 pixels 4.
FINE_MASKS: Final = """base: ultralytics_segment
postprocess:
  - {op: yolo8_head, features: 32}
  - {op: instance_masks, score_threshold: 0.25, iou_threshold: 0.7, detections: 300, mask_size: 160}
"""
#: Where the trained models' scenes are, beside the rows.
SCENES: Final = "scenes"
#: What a user of qtriton calls Ultralytics' task.
TASKS: Final = {
    "detect": "detection",
    "segment": "instance_segmentation",
    "pose": "keypoints",
    "obb": "rotated_detection",
    "classify": "classification",
    "semantic": "segmentation",
}


def make(path: Path, config: str, **export: Any) -> Pipeline:
    """Export a model of one of Ultralytics' own configurations."""
    torch.manual_seed(SEED)
    kind = RTDETR if "rtdetr" in config else YOLO
    model = kind(config)
    size = export.setdefault("imgsz", SIZE)
    prepare(model.model, batch(size))
    model.model.names = names(model.task, len(model.model.names))
    weights = path.with_suffix(".pt")
    model.save(weights)
    kind(weights).export(format="onnx", **export)
    weights.unlink()
    return partial(predict, kind(path) if kind is RTDETR else YOLO(path, task=model.task), size)


def make_trained(path: Path, **export: Any) -> Pipeline:
    """Export the YOLO11n that learnt the demo's digits."""
    weights = Path(shutil.copy(trained(path.parents[1] / SCENES), path.with_suffix(".pt")))
    YOLO(weights).export(format="onnx", imgsz=TRAINED_SIZE, **export)
    weights.unlink()
    return partial(predict, YOLO(path, task="detect"), TRAINED_SIZE)


def names(task: str, count: int) -> dict[int, str]:
    """The names of COCO, as a trained model has them, or made-up ones."""
    coco = Path(ultralytics.__file__).parent / "cfg/datasets/coco.yaml"
    known = yaml.safe_load(coco.read_text())["names"]
    return known if task in ("detect", "segment") and count == len(known) else {i: f"kind {i}" for i in range(count)}


def prepare(model: Any, images: Tensor) -> None:
    """Settle a network, and let a few dozen anchors have a class."""

    def run() -> None:
        model(images)

    settle(model, run)
    head = model.model[-1]
    if hasattr(head, "linear"):
        spread([head.linear], run, std=2.0)
    for name, share in (("cv3", 0.005), ("one2one_cv3", 0.005), ("enc_score_head", 0.1), ("dec_score_head", 0.1)):
        make_rare(last_layers(getattr(head, name, None)), run, share)
    for name in ("cv2", "one2one_cv2"):
        spread(
            last_layers(getattr(head, name, None)), run, mean=4.0, std=0.8
        )  # YOLO26: distances, of which none is < 0


def last_layers(branches: nn.Module | None) -> list[nn.Module]:
    """The last layer of each branch of a head, which may have one."""
    if isinstance(branches, nn.Linear):
        return [branches]
    return [each[-1] if isinstance(each, nn.Sequential) else each for each in branches or ()]


def predict(model: Any, size: int, photo: Path) -> Results:
    """What Ultralytics' own pre- and postprocessing make of the exported file."""
    image = cv2.imread(str(photo))
    (result,) = model.predict(image, imgsz=size, rect=False, verbose=False, device="cpu")
    if result.probs is not None:
        return {"scores": result.probs.data}
    if result.obb is not None:
        return {"polygons": result.obb.xyxyxyxy, "scores": result.obb.conf, "classes": result.obb.cls}
    if getattr(result, "semantic_mask", None) is not None:
        return {"class_map": result.semantic_mask.data}
    height, width = result.orig_shape
    boxes = result.boxes.xyxy.clip(torch.zeros(4), torch.tensor([width, height] * 2))
    found: Results = {"boxes": boxes, "scores": result.boxes.conf, "classes": result.boxes.cls}
    if result.masks is not None:
        found["masks"] = without_border(result.masks.data.bool(), height, width)
    if result.keypoints is not None:
        found["keypoints"] = result.keypoints.data
    return found


def without_border(masks: Tensor, height: int, width: int) -> Tensor:
    """Masks [n, rows, columns] of the model's input, cut to the photo in it, as scale_masks() in utils/ops.py cuts."""
    rows, columns = masks.shape[1:]
    gain = min(rows / height, columns / width)
    inner = round(height * gain), round(width * gain)
    top, left = round((rows - inner[0]) / 2 - 0.1), round((columns - inner[1]) / 2 - 0.1)
    return masks[:, top : top + inner[0], left : left + inner[1]]


def row(name: str, config: str, task: str, **export: Any) -> Row:
    """A row of the matrix."""
    return Row(name, "Ultralytics", TASKS[task], partial(make, config=f"{config}.yaml", **export))


def trained_row(name: str, **export: Any) -> Row:
    """A row with trained weights, asked for scenes of what they know."""
    make_it = partial(make_trained, **export)
    return Row(name, "Ultralytics", TASKS["detect"], make_it, real=True, photos=f"{SCENES}/images/photos")


ROWS: Final = [
    row("yolov5n-u", "yolov5n", "detect"),
    row("yolov8n", "yolov8n", "detect"),
    row("yolov9t", "yolov9t", "detect"),
    row("yolov10n", "yolov10n", "detect"),
    row("yolo11n", "yolo11n", "detect"),
    row("yolo12n", "yolo12n", "detect"),
    row("yolo26n", "yolo26n", "detect"),
    row("yolov8n-nms", "yolov8n", "detect", nms=True),
    row("yolo11n-nms", "yolo11n", "detect", nms=True),
    row("yolov10n-end2end", "yolov10n", "detect", nms=False),
    row("yolo26n-end2end", "yolo26n", "detect", nms=False),
    row("yolo11n-dynamic", "yolo11n", "detect", dynamic=True),
    row("yolo11n-batch4", "yolo11n", "detect", batch=4),
    row("rtdetr-yolov8n", "yolov8n-rtdetr", "detect"),
    replace(row("yolov8n-seg", "yolov8n-seg", "segment"), spec=FINE_MASKS),
    row("yolo11n-seg", "yolo11n-seg", "segment"),
    row("yolo26n-seg", "yolo26n-seg", "segment"),
    row("yolo26n-seg-end2end", "yolo26n-seg", "segment", nms=False),
    row("yolo11n-seg-nms", "yolo11n-seg", "segment", nms=True),
    row("yolov8n-pose", "yolov8n-pose", "pose"),
    row("yolo11n-pose", "yolo11n-pose", "pose"),
    row("yolo26n-pose", "yolo26n-pose", "pose"),
    row("yolo26n-pose-end2end", "yolo26n-pose", "pose", nms=False),
    row("yolo11n-pose-nms", "yolo11n-pose", "pose", nms=True),
    row("yolov8n-obb", "yolov8n-obb", "obb"),
    row("yolo11n-obb", "yolo11n-obb", "obb"),
    row("yolo26n-obb", "yolo26n-obb", "obb"),
    row("yolo26n-obb-end2end", "yolo26n-obb", "obb", nms=False),
    row("yolo11n-obb-nms", "yolo11n-obb", "obb", nms=True),
    row("yolov8n-cls", "yolov8n-cls", "classify", imgsz=224),
    row("yolo11n-cls", "yolo11n-cls", "classify", imgsz=224),
    row("yolo26n-cls", "yolo26n-cls", "classify", imgsz=224),
    row("yolo26n-sem", "yolo26n-sem", "semantic"),
    trained_row("yolo11n-trained"),
    trained_row("yolo11n-half", half=True),
]
