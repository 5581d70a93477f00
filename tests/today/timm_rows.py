"""Models of timm, as its onnx_export.py writes them; expected is timm's own transform and the model."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any, Final

import timm
import torch
from PIL import Image
from timm.utils.onnx import onnx_export
from torch import nn

from today.photos import batch
from today.row import Pipeline, Results, Row
from today.settling import SEED, settle, spread


def make(path: Path, name: str) -> Pipeline:
    """Export a classifier."""
    torch.manual_seed(SEED)
    model = timm.create_model(name, pretrained=False, exportable=True)
    config = timm.data.resolve_model_data_config(model)
    mean, std = (torch.tensor(config[key]).reshape(3, 1, 1) for key in ("mean", "std"))
    images = (batch(*config["input_size"][1:]) - mean) / std
    settle(model, lambda: model(images))
    spread([[layer for layer in model.modules() if isinstance(layer, nn.Linear)][-1]], lambda: model(images), std=2.0)
    onnx_export(model, str(path), batch_size=1, input_size=config["input_size"])
    return partial(classify, model, timm.data.create_transform(**config, is_training=False))


def classify(model: Any, transform: Any, photo: Path) -> Results:
    """The probabilities of all classes."""
    with torch.no_grad():
        return {"scores": model(transform(Image.open(photo).convert("RGB"))[None])[0].softmax(0)}


def spec(name: str) -> str:
    """What a user must say: the base, and the preprocessing where the model's default_cfg is not the usual one."""
    config = timm.data.resolve_data_config(model=None, pretrained_cfg=timm.get_pretrained_cfg(name).to_dict())
    side = int(config["input_size"][1] / config["crop_pct"])
    return SPEC.format(
        side=side,
        interpolation={"bicubic": "pillow_cubic", "bilinear": "pillow_linear"}[config["interpolation"]],
        mean=list(config["mean"]),
        std=list(config["std"]),
    )


#: As timm's evaluation transform does it.
SPEC: Final = """base: timm_classify
preprocess:
  - {{op: resize_short, pixels: {side}, interpolation: {interpolation}, rounding: down}}
  - {{op: center_crop, rounding: even}}
  - {{op: rgb}}
  - {{op: normalize, mean: {mean}, std: {std}}}
  - {{op: chw}}
"""
#: Those that need the base alone.
USUAL: Final = ("mobilenetv3_small_100", "efficientnet_lite0", "ghostnet_100")


def row(name: str) -> Row:
    """A row of the matrix."""
    said = "base: timm_classify" if name in USUAL else spec(name)
    return Row(f"timm-{name}", "timm", "classification", partial(make, name=name), said)


ROWS: Final = [
    row(name)
    for name in (
        "mobilenetv4_conv_small",
        "mobilenetv3_small_100",
        "efficientnet_lite0",
        "resnet18d",
        "vit_tiny_patch16_224",
        "deit_tiny_patch16_224",
        "convnextv2_atto",
        "repvgg_a0",
        "ghostnet_100",
        "fastvit_t8",
    )
]
