"""Models of LibreYOLO, as `model.export(format="onnx")` writes them; expected is what its own backend makes of the file."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any, Final

import libreyolo
import torch

from today.photos import batch
from today.row import Pipeline, Results, Row
from today.settling import SEED, make_rare, settle

#: The layers that give the classes, by family.
CLASS_LAYERS: Final = {
    "LibreYOLOX": "head.cls_preds",
}


def make(path: Path, family: str, size: str, pixels: int) -> Pipeline:
    """Export a model of one family and size."""
    torch.manual_seed(SEED)
    model = getattr(libreyolo, family)(size=size, device="cpu")
    model.export(format="onnx", output_path=str(path), imgsz=pixels)
    return partial(predict, libreyolo.OnnxBackend(str(path)))


def predict(model: Any, photo: Path) -> Results:
    result = model(str(photo), conf=0.25)
    return {"boxes": result.boxes.xyxy, "scores": result.boxes.conf, "classes": result.boxes.cls}
