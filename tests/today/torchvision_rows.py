"""Models of torchvision, as `torch.onnx.export` writes them; expected is the preset of its weights and the model."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
import torch
import torchvision
from PIL import Image
from torch import nn
from torchvision.transforms._presets import ImageClassification

from today.photos import batch
from today.row import Pipeline, Results, Row
from today.settling import SEED, make_rare, settle, spread

MEAN: Final = torch.tensor([0.485, 0.456, 0.406]).reshape(3, 1, 1)
STD: Final = torch.tensor([0.229, 0.224, 0.225]).reshape(3, 1, 1)
#: Segmentation is made smaller than the 520 pixels of the preset.
PIXELS: Final = 256
#: Detectors take one image [3, height, width] of 0..1 and scale it themselves; the file is for one size.
HEIGHT, WIDTH = 240, 320


def classifier(path: Path, name: str, resize: int = 256, crop: int = 224, free_batch: bool = False) -> Pipeline:
    """Export a classifier."""
    torch.manual_seed(SEED)
    model = torchvision.models.get_model(name, weights=None)
    images = (batch(crop) - MEAN) / STD
    settle(model, lambda: model(images))
    spread([[layer for layer in model.modules() if isinstance(layer, nn.Linear)][-1]], lambda: model(images), std=2.0)
    free = {"input": {0: "batch"}, "logits": {0: "batch"}} if free_batch else None
    write(model, images[:1], path, ["input"], ["logits"], dynamic_axes=free)
    preset = ImageClassification(crop_size=crop, resize_size=resize)
    return partial(classify, model, preset)


def classify(model: Any, preset: Any, photo: Path) -> Results:
    """The probabilities of all classes."""
    with torch.no_grad():
        return {"scores": model(preset(Image.open(photo).convert("RGB"))[None])[0].softmax(0)}


def segmenter(path: Path, name: str, **options: Any) -> Pipeline:
    """Export a segmenter, whose outputs are `out` and, where training needs it, `aux`."""
    torch.manual_seed(SEED)
    model = torchvision.models.get_model(name, weights=None, weights_backbone=None, num_classes=21, **options)
    images = (batch(PIXELS) - MEAN) / STD
    settle(model, lambda: model(images))
    write(model, images[:1], path, ["input"], list(model(images)))
    return partial(segment, model)


def segment(model: Any, photo: Path) -> Results:
    """The class of each pixel of the model's size."""
    pixels = Image.open(photo).convert("RGB").resize((PIXELS, PIXELS), Image.Resampling.BILINEAR)
    image = torch.from_numpy(np.array(pixels)).permute(2, 0, 1)[None] / 255
    with torch.no_grad():
        return {"class_map": model((image - MEAN) / STD)["out"][0].argmax(0)}


def detector(path: Path, name: str, **options: Any) -> Pipeline:
    """Export a detector with its NMS: boxes [n, 4], scores [n] and labels [n] of one image [3, height, width]."""
    torch.manual_seed(SEED)
    model = torchvision.models.get_model(name, weights=None, weights_backbone=None, **options)
    images = list(batch(HEIGHT, WIDTH))
    settle(model, lambda: model(images))
    last = [layer for key, layer in model.named_modules() if key.endswith(("cls_logits", "cls_score"))]
    make_rare(last, lambda: model(images), share=0.02)
    write(model, [images[0]], path, ["image"], ["boxes", "labels", "scores"])
    return partial(detect, model)


def detect(model: Any, photo: Path) -> Results:
    """What the model finds in the stretched photo, with a score over 0.25, in pixels of the photo."""
    image = cv2.imread(str(photo))[..., ::-1]
    pixels = cv2.resize(image, (WIDTH, HEIGHT))
    with torch.no_grad():
        (found,) = model([torch.from_numpy(pixels.copy()).permute(2, 0, 1) / 255])
    kept = found["scores"] > 0.25
    scale = np.array([image.shape[1] / WIDTH, image.shape[0] / HEIGHT] * 2, np.float32)
    return {
        "boxes": found["boxes"][kept].numpy() * scale,
        "scores": found["scores"][kept],
        "classes": found["labels"][kept],
    }


def write(model: nn.Module, example: Any, path: Path, inputs: list[str], outputs: list[str], **more: Any) -> None:
    """Export by the exporter that torchvision's own tests use."""
    model.eval()
    torch.onnx.export(
        model, (example,), str(path), input_names=inputs, output_names=outputs, opset_version=17, dynamo=False, **more
    )


def row(name: str, make: Any, task: str, spec: str, **options: Any) -> Row:
    """A row of the matrix."""
    return Row(f"tv-{name}", "torchvision", task, partial(make, name=name, **options), spec)


CLASSIFY: Final = "base: torchvision_classify"
#: For one whose weights want another size of the shorter side.
RESIZED: Final = """{base}
preprocess:
  - {{op: resize_short, pixels: {pixels}, interpolation: pillow_linear, rounding: down}}
  - {{op: center_crop, rounding: even}}
  - {{op: rgb}}
  - {{op: normalize, mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225]}}
  - {{op: chw}}
"""
ROWS: Final = [
    row("resnet18", classifier, "classification", CLASSIFY),
    row("resnet50", classifier, "classification", CLASSIFY, free_batch=True),
    row("mobilenet_v2", classifier, "classification", CLASSIFY),
    row("mobilenet_v3_small", classifier, "classification", CLASSIFY),
    row("efficientnet_b0", classifier, "classification", CLASSIFY),
    row("convnext_tiny", classifier, "classification", RESIZED.format(base=CLASSIFY, pixels=236), resize=236),
    row("regnet_y_400mf", classifier, "classification", CLASSIFY),
    row("shufflenet_v2_x1_0", classifier, "classification", CLASSIFY),
    row("swin_t", classifier, "classification", RESIZED.format(base=CLASSIFY, pixels=232), resize=232),
    row("deeplabv3_mobilenet_v3_large", segmenter, "segmentation", "base: torchvision_segment", aux_loss=True),
    row("lraspp_mobilenet_v3_large", segmenter, "segmentation", "base: torchvision_segment"),
    row("ssdlite320_mobilenet_v3_large", detector, "detection", "base: torchvision_detect"),
    row("fasterrcnn_mobilenet_v3_large_320_fpn", detector, "detection", "base: torchvision_detect"),
    row("retinanet_resnet50_fpn", detector, "detection", "base: torchvision_detect", min_size=240, max_size=320),
    row("fcos_resnet50_fpn", detector, "detection", "base: torchvision_detect", min_size=240, max_size=320),
]
