"""Models of transformers with Optimum's names; expected is what image processor, model and post-processing make."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
import transformers as hf
from PIL import Image
from torch import Tensor, nn

from today.photos import batch
from today.row import Pipeline, Results, Row
from today.settling import SEED, make_rare, settle

PIXELS: Final = 320
#: From where a detector reports: that of the base that reads it.
THRESHOLD: Final = 0.6
SIZE: Final = {"height": PIXELS, "width": PIXELS}


def rtdetr() -> tuple[Any, Any]:
    """RT-DETR with a ResNet-18, PekingU/rtdetr_r18vd's configuration."""
    backbone = hf.RTDetrResNetConfig(
        hidden_sizes=[64, 128, 256, 512], depths=[2, 2, 2, 2], layer_type="basic", out_indices=[2, 3, 4]
    )
    config = hf.RTDetrConfig(
        backbone_config=backbone, encoder_in_channels=[128, 256, 512], decoder_layers=3, hidden_expansion=0.5,
        num_labels=80, freeze_backbone_batch_norms=False,
    )  # fmt: skip
    return hf.RTDetrForObjectDetection(config), hf.RTDetrImageProcessor(size=SIZE)


def detr() -> tuple[Any, Any]:
    """DETR with a ResNet-18 and three layers of each kind."""
    backbone = hf.ResNetConfig(
        hidden_sizes=[64, 128, 256, 512], depths=[2, 2, 2, 2], layer_type="basic", out_features=["stage4"]
    )
    config = hf.DetrConfig(
        backbone_config=backbone, use_timm_backbone=False, use_pretrained_backbone=False, num_labels=91,
        encoder_layers=3, decoder_layers=3,
    )  # fmt: skip
    return hf.DetrForObjectDetection(config), hf.DetrImageProcessor(size=SIZE, do_pad=False)


def detector(path: Path, parts: Any) -> Pipeline:
    """Export a detector that gives logits and boxes."""
    torch.manual_seed(SEED)
    model, processor = parts()
    images = normalized(processor, batch(PIXELS))
    settle(model, lambda: model(images))
    heads = [layer for name, layer in model.named_modules() if name.split(".")[-1] in ("class_labels_classifier",)]
    heads += [layer for name, layer in model.named_modules() if "enc_score_head" in name or "class_embed" in name]
    make_rare([layer for layer in heads if isinstance(layer, nn.Linear)], lambda: model(images), share=0.1)

    write(Tensors(model, outputs=("logits", "pred_boxes")), images[:1], path, ["logits", "pred_boxes"])
    return partial(detect, model, processor)


def detect(model: Any, processor: Any, photo: Path) -> Results:
    """What post_process_object_detection keeps."""
    image = Image.open(photo).convert("RGB")
    with torch.no_grad():
        outputs = model(processor(image, return_tensors="pt")["pixel_values"])
    (found,) = processor.post_process_object_detection(outputs, THRESHOLD, torch.tensor([image.size[::-1]]))
    boxes = found["boxes"].numpy().clip(0, np.array([*image.size] * 2))
    return {"boxes": boxes, "scores": found["scores"], "classes": found["labels"]}


def segmenter(path: Path) -> Pipeline:
    """SegFormer-B0, whose logits have a quarter of the pixels."""
    torch.manual_seed(SEED)
    model = hf.SegformerForSemanticSegmentation(hf.SegformerConfig(num_labels=19))
    processor = hf.SegformerImageProcessor(size=SIZE)
    images = normalized(processor, batch(PIXELS))
    settle(model, lambda: model(images))

    write(Tensors(model, outputs=("logits",)), images[:1], path, ["logits"])
    return partial(segment, model, processor)


def segment(model: Any, processor: Any, photo: Path) -> Results:
    """The class of each pixel of the photo."""
    image = Image.open(photo).convert("RGB")
    with torch.no_grad():
        outputs = model(processor(image, return_tensors="pt")["pixel_values"])
    (found,) = processor.post_process_semantic_segmentation(outputs, target_sizes=[image.size[::-1]])
    return {"class_map": found}


class Tensors(nn.Module):  # type: ignore[misc]
    """A model that gives some of its named outputs, as a tuple."""

    def __init__(self, model: nn.Module, outputs: tuple[str, ...]) -> None:
        super().__init__()
        self.model = model
        self.outputs = outputs

    def forward(self, pixel_values: Tensor) -> tuple[Tensor, ...]:
        """Run it."""
        found = self.model(pixel_values)
        return tuple(getattr(found, name) for name in self.outputs)


def normalized(processor: Any, images: Tensor) -> Tensor:
    """Images of 0 to 1 as the processor scales them."""
    if not processor.do_normalize:
        return images
    mean, std = (torch.tensor(each).reshape(3, 1, 1) for each in (processor.image_mean, processor.image_std))
    return (images - mean) / std


def write(model: nn.Module, example: Tensor, path: Path, outputs: list[str]) -> None:
    """Export with Optimum's names."""
    model.eval()
    torch.onnx.export(
        model, (example,), str(path), input_names=["pixel_values"], output_names=outputs, opset_version=17, dynamo=False
    )


ROWS: Final = [
    Row(
        "hf-rtdetr-r18",
        "transformers",
        "detection",
        partial(detector, parts=rtdetr),
        "base: rtdetr",
        threshold=THRESHOLD,
    ),
    Row("hf-detr-r18", "transformers", "detection", partial(detector, parts=detr), "base: detr", threshold=THRESHOLD),
    Row("hf-segformer-b0", "transformers", "segmentation", segmenter, "base: segformer"),
]
