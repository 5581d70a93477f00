"""The operations of segmenters, against the home projects' own rules, written anew."""

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from qtriton.errors import ModelError
from qtriton.runtime.maps import ArgMax, ClassesFirst, Mask, Threshold, Upsample
from qtriton.runtime.post import PostOp, postprocess
from qtriton.runtime.pre import Frame, Geometry, Letterbox, Resize
from qtriton.runtime.scores import Sigmoid
from qtriton.spec_files import parse_spec

Array = npt.NDArray[Any]
RANDOM = np.random.default_rng(0)
WHOLE = Geometry(8, 12)


def interpolate(plane: Array, size: tuple[int, int]) -> Array:
    """torch.nn.functional.interpolate(mode="bilinear", align_corners=False), pixel by pixel.

    ATen/native/UpSample.h, area_pixel_compute_source_index: max((i + 0.5) * scale - 0.5, 0).
    """
    grown = np.empty(size, np.float64)
    for y in range(size[0]):
        for x in range(size[1]):
            at_y = max((y + 0.5) * plane.shape[0] / size[0] - 0.5, 0)
            at_x = max((x + 0.5) * plane.shape[1] / size[1] - 0.5, 0)
            top, left = int(at_y), int(at_x)
            bottom, right = min(top + 1, plane.shape[0] - 1), min(left + 1, plane.shape[1] - 1)
            upper = plane[top, left] * (1 - at_x + left) + plane[top, right] * (at_x - left)
            lower = plane[bottom, left] * (1 - at_x + left) + plane[bottom, right] * (at_x - left)
            grown[y, x] = upper * (1 - at_y + top) + lower * (at_y - top)
    return grown


@pytest.mark.parametrize("size", [(8, 12), (20, 30), (7, 11)])
def test_scores_are_upsampled_as_torch_does(size: tuple[int, int]) -> None:
    scores = RANDOM.normal(size=(5, 4, 6)).astype(np.float32)
    (grown,) = Upsample(size)([scores], WHOLE)
    np.testing.assert_allclose(grown, [interpolate(plane, size) for plane in scores], atol=1e-5)


@pytest.mark.parametrize("op", [Resize((16, 16)), Letterbox((16, 16)), Letterbox((16, 16), align="top_left")])
@pytest.mark.parametrize("shape", [(24, 20), (9, 30), (16, 16)])
def test_scores_are_interpolated_to_the_image_before_a_class_is_chosen(
    op: Resize | Letterbox, shape: tuple[int, int]
) -> None:
    """post_process_semantic_segmentation() of transformers with target_sizes; borders are cut off before."""
    geometry = op(Frame(np.zeros((*shape, 3), np.uint8), Geometry(*shape))).geometry
    coarse = RANDOM.normal(size=(5, 4, 4)).astype(np.float32)
    mask = postprocess([coarse[np.newaxis]], geometry, (Mask((16, 16), of="scores"),))["mask"]
    high, wide = (round(16 / scale) for scale in (geometry.scale_y, geometry.scale_x))
    top, left = round(geometry.pad_y / geometry.scale_y), round(geometry.pad_x / geometry.scale_x)
    grown = np.array([interpolate(plane, (high, wide)) for plane in coarse])
    expected = grown.argmax(axis=0)[top : top + shape[0], left : left + shape[1]]
    assert mask.shape == shape and mask.dtype == np.uint8
    stretched = isinstance(op, Resize)
    assert (mask == expected).mean() > (0.999 if stretched else 0.9)  # a border of half a pixel shifts the others


def test_classes_last_and_first_give_the_same_mask() -> None:
    scores = RANDOM.normal(size=(5, 8, 12)).astype(np.float32)
    ops: tuple[PostOp, ...] = (ArgMax(), Mask((8, 12)))
    expected = postprocess([scores], WHOLE, ops)["mask"]
    for last in (scores.transpose(1, 2, 0), scores.transpose(1, 2, 0)[np.newaxis]):
        np.testing.assert_array_equal(postprocess([last], WHOLE, (ClassesFirst(), *ops))["mask"], expected)


def test_one_channel_is_compared_with_a_threshold() -> None:
    """segmentation_models.pytorch: (logits.sigmoid() > 0.5), which is logits > 0."""
    logits = RANDOM.normal(size=(1, 8, 12)).astype(np.float32)
    for ops in ((Sigmoid(), Threshold()), (Threshold(above=0),)):
        mask = postprocess([logits], WHOLE, (*ops, Mask((8, 12))))["mask"]
        np.testing.assert_array_equal(mask, (1 / (1 + np.exp(-logits[0].astype(np.float64))) > 0.5).astype(np.uint8))
    assert postprocess([logits], WHOLE, (Sigmoid(), Threshold(above=0.9), Mask((8, 12))))["mask"].mean() < 0.2


@pytest.mark.parametrize("part", [1, 2, 4])
@pytest.mark.parametrize("shape", [(60, 100), (100, 60), (64, 64), (33, 190)])
def test_a_map_at_a_fraction_of_the_size_covers_the_same_pixels(shape: tuple[int, int], part: int) -> None:
    """The mask of what the model sees is what it sees: a picture of two halves, its borders of a third class."""
    picture = np.zeros((*shape, 3), np.uint8)
    picture[:, shape[1] // 2 :] = 1
    for op in (Letterbox((64, 64), fill=2, interpolation="nearest"), Resize((64, 64), interpolation="nearest")):
        frame = op(Frame(picture, Geometry(*shape)))
        seen = cv2.resize(frame.pixels[:, :, 0], (64 // part, 64 // part), interpolation=cv2.INTER_NEAREST)
        mask = postprocess([seen.astype(np.int64)], frame.geometry, (ArgMax(), Mask((64, 64))))["mask"]
        assert mask.shape == shape
        near = int(part * max(shape) / 64) + 1  # a pixel of the map, in pixels of the picture
        right = mask == picture[:, :, 0]
        assert right[near:-near, near : shape[1] // 2 - near].all()
        assert right[near:-near, shape[1] // 2 + near : -near].all()
        assert part > 1 or (right.mean(axis=0) > 0.9).sum() >= shape[1] - 2 * near


def test_a_crop_of_the_image_is_no_mask_of_the_whole() -> None:
    crop = "[{op: resize_short, pixels: 72}, {op: center_crop}, {op: rgb}, {op: normalize}, {op: chw}]"
    with pytest.raises(ModelError, match=r"{op: center_crop} leaves pixels of the image out.*{op: resize}"):
        parse_spec(
            f"name: a\ntask: segmentation\ninput: {{name: x, dims: [3, 64, 64]}}\npreprocess: {crop}\n"
            "postprocess: [{op: argmax}, {op: mask}]",
            "a.yaml",
        )
