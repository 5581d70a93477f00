"""Whatever the sizes: where the operations put a picture, and that a result finds its way back to the original."""

from itertools import chain
from typing import Any, Final, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from qtriton.runtime.detections import to_original
from qtriton.runtime.pre import CenterCrop, Frame, Geometry, Interpolation, Letterbox, PreOp, Resize, ResizeShort

Array: TypeAlias = npt.NDArray[Any]
Size: TypeAlias = tuple[int, int]
Ops: TypeAlias = tuple[PreOp, ...]

#: Of float32, in which the geometry and the boxes travel.
EPS: Final = float(np.finfo(np.float32).eps)

line = st.integers(1, 3)
side = st.one_of(line, st.integers(1, 120))
#: Single pixels, lines of thousands of them, and what lies between.
images = st.one_of(st.tuples(side, side), st.tuples(line, st.integers(1, 6000)), st.tuples(st.integers(1, 6000), line))
targets = st.tuples(side, side)
interpolations: st.SearchStrategy[Interpolation] = st.sampled_from(["nearest", "linear", "cubic", "area"])


@st.composite
def short_then_crop(draw: st.DrawFn) -> Ops:
    """What classifiers do; the crop fits whatever the image is."""
    pixels = draw(side)
    crop = draw(st.integers(1, pixels)), draw(st.integers(1, pixels))
    return ResizeShort(pixels, longest=draw(st.integers(pixels, 300))), CenterCrop(crop)


#: What resamples once, linearly, so that it can be told exactly where each pixel comes from.
once: st.SearchStrategy[Ops] = st.one_of(
    targets.map(lambda size: (Letterbox(size),)), targets.map(lambda size: (Resize(size),)), short_then_crop()
)
often: st.SearchStrategy[Ops] = st.lists(once, min_size=1, max_size=3).map(lambda each: tuple(chain(*each)))


def picture(size: Size, value: int = 200) -> Frame:
    return Frame(np.full((*size, 3), value, np.uint8), Geometry(*map(float, size)))


def map_of_places(size: Size) -> Frame:
    """A picture in which each pixel tells its own x, y, and 1 for being one of the picture."""
    y, x = np.indices(size, np.float32) + 0.5
    return Frame(np.stack([x, y, np.ones_like(x)], axis=2), Geometry(*map(float, size)))


def applied(frame: Frame, ops: Ops) -> Frame:
    for op in ops:
        frame = op(frame)
    return frame


def travelled(geometry: Geometry) -> Geometry:
    """As the postprocess step reads what the preprocess step wrote."""
    return Geometry(*map(float, np.asarray(geometry, np.float32)))


class Axis(NamedTuple):
    """One direction of a geometry: how long the original is, and how that maps to the model's pixels."""

    length: float
    scale: float
    pad: float


def axes(geometry: Geometry) -> tuple[Axis, Axis]:
    """Those of x and y."""
    return (
        Axis(geometry.width, geometry.scale_x, geometry.pad_x),
        Axis(geometry.height, geometry.scale_y, geometry.pad_y),
    )


@given(images, targets, st.integers(0, 255), interpolations)
@example((1, 1), (1, 1), 0, "linear")
@example((1, 6000), (120, 1), 114, "area")
def test_a_letterboxed_picture_lies_whole_in_the_middle_and_fills_one_direction(
    size: Size, target: Size, fill: int, interpolation: Interpolation
) -> None:
    value = (fill + 128) % 256
    pixels, geometry = Letterbox(target, fill=fill, interpolation=interpolation)(picture(size, value))

    assert (pixels.shape, pixels.dtype) == ((*target, 3), np.dtype(np.uint8))
    inside = (pixels == value).all(axis=2)
    rows, columns = (np.flatnonzero(inside.any(axis=axis)) for axis in (1, 0))
    top, bottom, left, right = rows[0], rows[-1] + 1, columns[0], columns[-1] + 1
    assert inside.sum() == (bottom - top) * (right - left)
    assert (pixels[~inside] == fill).all()
    for first, end, length in ((top, bottom, target[0]), (left, right, target[1])):
        assert (length - end) - first in (0, 1)
    inner = bottom - top, right - left
    assert inner[0] == target[0] or inner[1] == target[1]
    ratio = min(target[0] / size[0], target[1] / size[1])
    for scaled, before in zip(inner, size, strict=True):
        assert scaled == 1 or abs(scaled - before * ratio) <= 0.5 + 1e-9
    assert (geometry.height, geometry.width) == size
    assert (geometry.pad_y, geometry.pad_x) == (top, left)
    assert (geometry.scale_y * size[0], geometry.scale_x * size[1]) == pytest.approx(inner)


@given(images, targets, interpolations)
def test_a_resized_picture_is_the_whole_one(size: Size, target: Size, interpolation: Interpolation) -> None:
    pixels, geometry = Resize(target, interpolation=interpolation)(picture(size))

    assert (pixels.shape, pixels.dtype) == ((*target, 3), np.dtype(np.uint8))
    assert (pixels == 200).all()
    assert geometry == pytest.approx((*size, target[1] / size[1], target[0] / size[0], 0, 0))


@given(images, side, st.integers(0, 500), interpolations)
def test_the_shorter_side_gets_its_length_and_the_longer_one_no_more_than_its_bound(
    size: Size, short: int, more: int, interpolation: Interpolation
) -> None:
    longest = short + more
    pixels, geometry = ResizeShort(short, interpolation=interpolation, longest=longest)(picture(size))

    after = pixels.shape[:2]
    assert (pixels == 200).all()
    assert min(after) == short
    for scaled, before in zip(after, size, strict=True):
        exact = before * short / min(size)
        assert abs(scaled - exact) <= 0.5 + 1e-9 or scaled == longest < exact
    assert geometry == pytest.approx((*size, after[1] / size[1], after[0] / size[0], 0, 0))


@given(st.tuples(side, side), targets)
def test_a_crop_is_the_middle_or_is_refused(size: Size, target: Size) -> None:
    before = map_of_places(size)
    if target[0] > size[0] or target[1] > size[1]:
        with pytest.raises(ValueError, match="center_crop"):
            CenterCrop(target)(before)
        return

    pixels, geometry = CenterCrop(target)(before)

    assert pixels.shape == (*target, 3)
    assert (geometry.scale_x, geometry.scale_y) == (1, 1)
    for axis, place in ((1, 0), (0, 1)):
        cut_before = pixels[0, 0, place] - 0.5
        assert cut_before == -axes(geometry)[place].pad
        assert (size[axis] - target[axis]) - 2 * cut_before in (0, 1)
        assert (np.diff(pixels[..., place], axis=axis) == 1).all()


@given(images, once)
@example((1, 1), (Letterbox((120, 120)),))
@example((120, 3), (Letterbox((11, 64)),))
def test_each_pixel_shows_the_place_that_to_original_names(size: Size, ops: Ops) -> None:
    """Linear interpolation of the places is exact, up to half a pixel from the edges, where there is no more to see."""
    pixels, geometry = applied(map_of_places(size), ops)

    rows, columns = np.nonzero(pixels[..., 2] == 1)
    assert len(rows)
    centres = np.stack([columns, rows, columns, rows], axis=1).astype(np.float32) + np.float32(0.5)
    named = to_original(centres, travelled(geometry))
    for place, (length, scale, pad) in enumerate(axes(geometry)):
        expected = named[:, place].clip(0.5, length - 0.5)
        rounding = 1e-3 + 4 * EPS * (length + abs(pad) / scale)
        np.testing.assert_allclose(pixels[rows, columns, place], expected, rtol=0, atol=rounding)


@st.composite
def boxes_in(draw: st.DrawFn, size: Size) -> Array:
    """Boxes in a picture, up to its very edges and down to no area at all."""
    parts = st.one_of(st.sampled_from([0.0, 1.0]), st.floats(0, 1))
    drawn = draw(st.lists(st.tuples(parts, parts, parts, parts), min_size=1, max_size=5))
    corners = np.sort(np.array(drawn).reshape(-1, 2, 2), axis=1)
    return np.asarray(corners.reshape(-1, 4) * (size[1], size[0], size[1], size[0]))


@given(st.data(), images, often)
def test_a_box_mapped_there_and_back_is_the_same(data: st.DataObject, size: Size, ops: Ops) -> None:
    boxes = data.draw(boxes_in(size))
    geometry = applied(picture(size), ops).geometry
    scale = np.array([geometry.scale_x, geometry.scale_y] * 2)
    pad = np.array([geometry.pad_x, geometry.pad_y] * 2)

    back = to_original((boxes * scale + pad).astype(np.float32), travelled(geometry))

    rounding = 4 * EPS * (boxes + np.abs(pad) / scale + 1)
    assert (np.abs(back - boxes) <= rounding).all()


@given(images, often, st.lists(st.tuples(*[st.floats(-1e6, 1e6, width=32)] * 4), max_size=5))
def test_a_result_lies_in_the_original_wherever_the_model_sees_it(
    size: Size, ops: Ops, seen: list[tuple[float, float, float, float]]
) -> None:
    boxes = np.array(seen, np.float32).reshape(-1, 4)

    mapped = to_original(boxes, travelled(applied(picture(size), ops).geometry))

    assert (mapped.shape, mapped.dtype) == (boxes.shape, np.dtype(np.float32))
    assert (mapped >= 0).all()
    assert (mapped <= [size[1], size[0]] * 2).all()
    ordered = boxes[:, :2] <= boxes[:, 2:]
    assert (mapped[:, :2] <= mapped[:, 2:])[ordered].all()
