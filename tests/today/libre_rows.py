"""Models of LibreYOLO, as `model.export(format="onnx")` writes them; expected is what its own backend makes of it."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any, Final

import libreyolo
import torch
from torch import nn

from today.photos import batch
from today.row import Pipeline, Results, Row
from today.settling import SEED, make_rare, settle

#: What none of its models may load: weights from a hub. An empty state is what keeps RF-DETR from that.
NO_WEIGHTS: Final[dict[str, Any]] = {"LibreRFDETR": {}}


def make(path: Path, family: str, size: str, pixels: int, share: float = 0.005) -> Pipeline:
    """Export a model of one family and size."""
    torch.manual_seed(SEED)
    model = getattr(libreyolo, family)(NO_WEIGHTS.get(family), size=size, device="cpu")
    images = batch(pixels)
    settle(model.model, lambda: model.model(images))
    make_rare(class_layers(model.model), lambda: model.model(images), share)
    model.export(format="onnx", output_path=str(path), imgsz=pixels)
    return partial(predict, libreyolo.LibreYOLO(str(path)))


def class_layers(model: nn.Module) -> list[nn.Module]:
    """The last layers that give a number for each of COCO's 80 classes, with or without a background."""
    return [
        layer
        for layer in model.modules()
        if isinstance(layer, nn.Conv2d | nn.Linear) and layer.bias is not None and len(layer.bias) in (80, 81)
    ]


def predict(model: Any, photo: Path) -> Results:
    """Boxes with a score over 0.25."""
    found = model(str(photo), conf=0.25).boxes
    return {"boxes": found.xyxy, "scores": found.conf, "classes": found.cls}


def row(name: str, family: str, size: str, pixels: int, share: float = 0.005, spec: str = "") -> Row:
    """A row of the matrix."""
    return Row(
        name, "LibreYOLO", "detection", partial(make, family=family, size=size, pixels=pixels, share=share), spec
    )


#: LibreYOLO exports YOLOX with its boxes decoded.
DECODED_YOLOX: Final = """base: yolox
postprocess:
  - {op: yolo_head}
  - {op: nms, score_threshold: 0.25, iou_threshold: 0.45, detections: 300}
"""
#: RF-DETR has a column more than classes.
RFDETR: Final = f"""base: rfdetr
classes: [{", ".join(f"kind {number}" for number in range(81))}]
"""
ROWS: Final = [
    row("libre-yolox-n", "LibreYOLOX", "n", 416, spec=DECODED_YOLOX),
    row("libre-yolo9-t", "LibreYOLO9", "t", 320, spec="base: ultralytics_detect"),
    row("libre-rtmdet-t", "LibreRTMDet", "t", 320),
    row("libre-dfine-n", "LibreDFINE", "n", 320, 0.1, "base: rtdetr"),
    row("libre-deim-n", "LibreDEIM", "n", 320, 0.1, "base: rtdetr"),
    row("libre-deimv2-atto", "LibreDEIMv2", "atto", 320, 0.1, "base: rtdetr"),
    row("libre-rfdetr-n", "LibreRFDETR", "n", 384, 0.1, RFDETR),
]
