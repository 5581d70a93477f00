"""Models of rfdetr, as `model.export()` writes them; expected is what its own `predict` makes of a photo."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import rfdetr
import torch
from torch import nn

from today.photos import batch
from today.row import Pipeline, Results, Row
from today.settling import SEED, make_rare, settle

MEAN: Final = torch.tensor([0.485, 0.456, 0.406]).reshape(3, 1, 1)
STD: Final = torch.tensor([0.229, 0.224, 0.225]).reshape(3, 1, 1)
#: From where predict() reports.
THRESHOLD: Final = 0.5


def make(path: Path, name: str) -> Pipeline:
    """Export a model of random weights; without `pretrain_weights` none are downloaded."""
    torch.manual_seed(SEED)
    model = getattr(rfdetr, name)(pretrain_weights=None, device="cpu")
    network, pixels = model.model.model, model.model.resolution
    images = (batch(pixels) - MEAN) / STD
    settle(network, lambda: network(images))
    heads = [layer for key, layer in network.named_modules() if "class_embed" in key and isinstance(layer, nn.Linear)]
    make_rare(heads, lambda: network(images), share=0.1)
    made = model.export(output_dir=str(path.parent), output_name="best", verbose=False)
    Path(made).rename(path)
    return partial(predict, model)


def predict(model: Any, photo: Path) -> Results:
    """What has a score over a half; masks bool [n, height, width] where it segments.

    What a mask has outside of its box is left out, as `instance_masks` says: random ones are all over the photo.
    """
    found = model.predict(str(photo), threshold=THRESHOLD, include_source_image=False)
    masks = {} if found.mask is None else {"masks": within(found.mask, found.xyxy)}
    return {"boxes": found.xyxy, "scores": found.confidence, "classes": found.class_id, **masks}


def within(masks: Any, boxes: Any) -> Any:
    """Masks cut to the whole pixels of their boxes."""
    rows, columns = np.arange(masks.shape[1])[:, None], np.arange(masks.shape[2])
    x1, y1, x2, y2 = np.rint(boxes).T[:, :, None, None]
    return masks & (columns >= x1) & (columns < x2) & (rows >= y1) & (rows < y2)


ROWS: Final = [
    Row(
        "rfdetr-seg-nano",
        "rfdetr",
        "instance_segmentation",
        partial(make, name="RFDETRSegNano"),
        threshold=THRESHOLD,
    ),
]
