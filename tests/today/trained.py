"""A YOLO11n that learnt the demo's digits, by Ultralytics' own trainer, for a few minutes on two cores."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any, Final

from ultralytics import YOLO

#: Digits have 20 to 72 pixels in scenes of 320 to 400, which this many hold at two thirds of their size.
SIZE: Final = 224
#: Each step one batch (nbs), no picture turned over, none made of four.
RECIPE: Final[dict[str, Any]] = {
    "epochs": 3,
    "batch": 8,
    "nbs": 8,
    "optimizer": "AdamW",
    "lr0": 0.002,
    "lrf": 0.05,
    "warmup_epochs": 0.3,
    "mosaic": 0.0,
    "fliplr": 0.0,
    "scale": 0.2,
}
#: What would take time, or ask the network.
QUIET: Final[dict[str, Any]] = {
    "device": "cpu",
    "workers": 0,
    "amp": False,
    "val": False,
    "plots": False,
    "pretrained": False,
    "verbose": False,
}


def trained(scenes: Path) -> Path:
    """The weights, trained where they are missing; they lie beside the scenes that `today.scenes` wrote."""
    weights = scenes / "yolo11n.pt"
    if not weights.exists():
        with tempfile.TemporaryDirectory() as scratch:
            model = YOLO("yolo11n.yaml")
            model.train(data=str(scenes / "data.yaml"), imgsz=SIZE, project=scratch, **RECIPE, **QUIET)
            shutil.copy(model.trainer.last, weights)
    return weights
