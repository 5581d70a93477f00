"""Models of LibreYOLO, as `model.export(format="onnx")` writes them; expected is what its own backend makes of it."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any, Final

import libreyolo
import torch
from torch import Tensor, nn

from today.photos import batch
from today.row import Pipeline, Results, Row
from today.settling import SEED, make_rare, settle

#: What none of its models may load: weights from a hub. An empty state is what keeps RF-DETR from that.
NO_WEIGHTS: Final[dict[str, Any]] = {"LibreRFDETR": {}}
#: mmdetection's.
BGR_MEAN: Final = torch.tensor([103.53, 116.28, 123.675]).reshape(3, 1, 1)
BGR_STD: Final = torch.tensor([57.375, 57.12, 58.395]).reshape(3, 1, 1)


def make(path: Path, family: str, size: str, pixels: int, share: float = 0.005) -> Pipeline:
    """Export a model of one family and size."""
    torch.manual_seed(SEED)
    model = getattr(libreyolo, family)(NO_WEIGHTS.get(family), size=size, device="cpu")
    images = as_family(family, batch(pixels))
    settle(model.model, lambda: model.model(images))
    make_rare(class_layers(model.model), lambda: model.model(images), share)
    model.export(format="onnx", output_path=str(path), imgsz=pixels)
    return partial(predict, libreyolo.LibreYOLO(str(path)))


def as_family(family: str, images: Tensor) -> Tensor:
    """Images of RGB in 0 to 1 as a family's preprocessing scales them: on others its activations would not settle."""
    if family not in ("LibreYOLOX", "LibreRTMDet"):
        return images
    bgr = images.flip(1) * 255
    return bgr if family == "LibreYOLOX" else (bgr - BGR_MEAN) / BGR_STD


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


ROWS: Final = [
    row("libre-yolox-n", "LibreYOLOX", "n", 416),
    row("libre-yolo9-t", "LibreYOLO9", "t", 320),
    row("libre-rtmdet-t", "LibreRTMDet", "t", 320),
    row("libre-dfine-n", "LibreDFINE", "n", 320, 0.1, "base: rtdetr"),
    row("libre-deim-n", "LibreDEIM", "n", 320, 0.1, "base: rtdetr"),
    row("libre-deimv2-atto", "LibreDEIMv2", "atto", 320, 0.1, "base: rtdetr"),
    row("libre-rfdetr-n", "LibreRFDETR", "n", 384, 0.1),
]
