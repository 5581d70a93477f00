"""Each preprocessing operation, against its definition, and the geometry that maps results back."""

from dataclasses import replace
from typing import get_args

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from qtriton.runtime.image import decode
from qtriton.runtime.pre import (
    CenterCrop,
    Chw,
    ExtraInput,
    Frame,
    Geometry,
    Grey,
    Letterbox,
    Normalize,
    PreOp,
    Resize,
    ResizeHeight,
    ResizeShort,
    Rgb,
    decodes_rgb,
    extra_input,
    preprocess,
)


def frame(height: int, width: int) -> Frame:
    pixels = np.random.default_rng(7).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Frame(pixels, Geometry(height, width))


def test_boxes_go_back_by_the_ratio_where_the_home_project_maps_so() -> None:
    """LibreYOLO: int(852 * 0.325) rows, but boxes / 0.325; the pixels were scaled by 276 / 852."""
    before = frame(852, 1280)
    op = Letterbox(size=(416, 416), align="top_left")
    assert op(before).geometry == Geometry(852, 1280, 0.325, 276 / 852)
    ratio = replace(op, back="ratio")(before)
    assert ratio.geometry == Geometry(852, 1280, 0.325, 0.325)
    np.testing.assert_array_equal(ratio.pixels, op(before).pixels)


@pytest.mark.parametrize("size", [(480, 640), (640, 427), (333, 500), (1080, 810), (11, 900)])
def test_letterbox_at_the_top_left_is_yoloxs(size: tuple[int, int]) -> None:
    """preproc() of Megvii-BaseDetection/YOLOX, yolox/data/data_augment.py."""
    before = frame(*size)
    padded = np.ones((416, 640, 3), np.uint8) * 114
    r = min(416 / size[0], 640 / size[1])
    resized = cv2.resize(before.pixels, (int(size[1] * r), int(size[0] * r)), interpolation=cv2.INTER_LINEAR)
    padded[: int(size[0] * r), : int(size[1] * r)] = resized
    after = Letterbox(size=(416, 640), align="top_left")(before)
    np.testing.assert_array_equal(after.pixels, padded)
    assert after.geometry[4:] == (0, 0)
    # Back to the original by r, as YOLOX does, is the same but for less than a pixel of the input.
    assert abs(after.geometry.scale_x - r) * size[1] < 1 and abs(after.geometry.scale_y - r) * size[0] < 1
    ops = (Letterbox(size=(416, 640), align="top_left"), Normalize(scale=1), Chw())
    png = cv2.imencode(".png", before.pixels)[1].tobytes()
    np.testing.assert_array_equal(preprocess(png, ops).pixels, padded.transpose(2, 0, 1).astype(np.float32))


@pytest.mark.parametrize(
    ("size", "inner", "left", "top"),
    [((480, 640), (480, 640), 0, 80), ((640, 427), (640, 427), 106, 0), ((333, 500), (426, 640), 0, 107)],
)
def test_letterbox_is_yolov5s(size: tuple[int, int], inner: tuple[int, int], left: int, top: int) -> None:
    """The sizes and borders that letterbox() of ultralytics/yolov5 computes for the same images."""
    before = frame(*size)
    after = Letterbox(size=(640, 640))(before)
    height, width = inner
    assert after.pixels.shape == (640, 640, 3)
    expected = cv2.resize(before.pixels, (width, height)) if size != inner else before.pixels
    np.testing.assert_array_equal(after.pixels[top : top + height, left : left + width], expected)
    border = np.ones((640, 640), bool)
    border[top : top + height, left : left + width] = False
    assert (after.pixels[border] == 114).all()
    assert (after.geometry.pad_x, after.geometry.pad_y) == (left, top)


@pytest.mark.parametrize("size", [(1, 1), (1, 5000), (5000, 1)])
def test_letterbox_of_extreme_shapes(size: tuple[int, int]) -> None:
    assert Letterbox(size=(64, 64))(frame(*size)).pixels.shape == (64, 64, 3)


@pytest.mark.parametrize(
    "ops",
    [
        (Letterbox(size=(320, 320)),),
        (Resize(size=(100, 50)),),
        (ResizeShort(pixels=256), CenterCrop(size=(224, 224))),
        (ResizeHeight(size=(100, 180)),),
        (Resize(size=(300, 300)), Letterbox(size=(640, 512))),
    ],
)
def test_geometry_finds_a_mark_again(ops: tuple[PreOp, ...]) -> None:
    """A white block in the original lies where the geometry says it went."""
    pixels = np.zeros((400, 600, 3), np.uint8)
    pixels[180:220, 280:320] = 255
    after = Frame(pixels, Geometry(400, 600))
    for op in ops:
        after = op(after)
    rows, columns = np.nonzero(after.pixels[..., 0] > 200)
    geometry = after.geometry
    assert columns.mean() + 0.5 == pytest.approx(300 * geometry.scale_x + geometry.pad_x, abs=1)
    assert rows.mean() + 0.5 == pytest.approx(200 * geometry.scale_y + geometry.pad_y, abs=1)


def test_resize_short_bounds_the_long_side() -> None:
    assert ResizeShort(pixels=256, longest=1000)(frame(2, 60000)).pixels.shape == (256, 1000, 3)


@pytest.mark.parametrize(("size", "width"), [((20, 50), 120), ((20, 100), 192), ((48, 1), 1), ((1, 6000), 192)])
def test_resize_height_keeps_proportions_where_there_is_room(size: tuple[int, int], width: int) -> None:
    before = frame(*size)
    after = ResizeHeight(size=(48, 192))(before).pixels
    np.testing.assert_array_equal(after[:, :width], cv2.resize(before.pixels, (width, 48)))
    assert after.shape == (48, 192, 3) and (after[:, width:] == 127).all()


def test_center_crop_refuses_what_is_too_small() -> None:
    with pytest.raises(ValueError, match="center_crop"):
        CenterCrop(size=(224, 224))(frame(200, 300))


def test_normalize_is_its_formula() -> None:
    before = frame(4, 5)
    op = Normalize(scale=1 / 255, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
    expected = (before.pixels / 255 - np.array(op.mean)) / np.array(op.std)
    after = op(before).pixels
    assert after.dtype == np.float32
    np.testing.assert_allclose(after, expected, atol=1e-6)


def test_rgb_and_chw() -> None:
    before = frame(4, 5)
    after = Chw()(Rgb()(before)).pixels
    assert after.flags.c_contiguous
    np.testing.assert_array_equal(after, before.pixels[..., ::-1].transpose(2, 0, 1))


def test_a_whole_pipeline_from_bytes() -> None:
    image: npt.NDArray[np.uint8] = frame(30, 40).pixels
    data = cv2.imencode(".png", image)[1].tobytes()
    tensor, geometry = preprocess(data, (Letterbox(size=(64, 64)), Rgb(), Normalize(), Chw()))
    assert tensor.shape == (3, 64, 64)
    assert geometry == Geometry(30, 40, 1.6, 1.6, 0, 8)


@pytest.mark.parametrize("before_resize", [True, False])
def test_grey_is_cv2s_and_goes_on_as_one_channel(before_resize: bool) -> None:
    """cv2.cvtColor: Y = 0.299 R + 0.587 G + 0.114 B; then MNIST's normalize, one mean and one std."""
    image = frame(40, 60)
    resize: tuple[PreOp, ...] = (Letterbox(size=(28, 28), fill=0), Resize(size=(20, 24)))
    ops: tuple[PreOp, ...] = (Grey(), *resize) if before_resize else (*resize, Grey())
    after = image
    for op in (*ops, Normalize(mean=(0.1307,), std=(0.3081,)), Chw()):
        after = op(after)
    assert (after.pixels.shape, after.pixels.dtype) == ((1, 20, 24), np.dtype(np.float32))
    blue, green, red = np.moveaxis(image.pixels.astype(np.float64), -1, 0)
    grey = Grey()(image).pixels
    np.testing.assert_allclose(grey[:, :, 0], 0.299 * red + 0.587 * green + 0.114 * blue, atol=0.51)
    assert Normalize(mean=(0.1307,), std=(0.3081,))(Frame(grey, image.geometry)).pixels.max() <= (1 - 0.1307) / 0.3081


def test_one_value_of_normalize_stands_for_every_channel() -> None:
    one, three = Normalize(mean=(0.5,), std=(0.25,)), Normalize(mean=(0.5,) * 3, std=(0.25,) * 3)
    np.testing.assert_array_equal(one(frame(4, 5)).pixels, three(frame(4, 5)).pixels)


def test_sizes_that_a_model_asks_for() -> None:
    """RT-DETR, rtdetrv2_pytorch/references/deploy/rtdetrv2_onnxruntime.py: w, h = im_pil.size; [[w, h]]."""
    after = frame(40, 60)
    for op in (Resize(size=(20, 90)), Normalize(), Chw()):
        after = op(after)
    expected = {
        "original_wh": [60, 40], "original_hw": [40, 60], "input_wh": [90, 20], "im_shape": [20, 90],
        "scale_factor": [0.5, 1.5],
    }  # fmt: skip
    found = {kind: extra_input(kind, after) for kind in get_args(ExtraInput)}
    assert {kind: values.tolist() for kind, values in found.items()} == expected
    assert {values.dtype for values in found.values()} == {np.dtype(np.float32)}


SMALL = Resize(size=(8, 8))
FLOATS = (Normalize(mean=(0.1, 0.2, 0.3), std=(1.0, 2.0, 3.0)), Chw())


@pytest.mark.parametrize(
    ("ops", "at_once"),
    [
        ((SMALL, Rgb(), *FLOATS), True),
        ((Rgb(), SMALL, *FLOATS), True),
        ((Letterbox(size=(16, 16)), CenterCrop(size=(8, 8)), Rgb(), *FLOATS), True),
        ((SMALL, *FLOATS), False),
        ((SMALL, Normalize(mean=(0.1, 0.2, 0.3)), Rgb(), Chw()), False),  # it looks at colours
        ((Rgb(), SMALL, Rgb(), *FLOATS), False),
    ],
)
def test_an_image_is_decoded_to_rgb_where_that_is_the_same(ops: tuple[PreOp, ...], at_once: bool) -> None:
    assert decodes_rgb(ops) is at_once
    for suffix in (".png", ".jpg", ".webp"):
        data = cv2.imencode(suffix, frame(40, 30).pixels)[1].tobytes()
        expected = Frame(decode(data), Geometry(40, 30))
        for op in ops:
            expected = op(expected)
        found = preprocess(data, ops)
        assert found.geometry == expected.geometry
        np.testing.assert_array_equal(found.pixels, expected.pixels)
