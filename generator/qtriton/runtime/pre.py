"""The operations between an encoded image and the tensor that a model takes."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final, Literal, NamedTuple, TypeAlias, get_args

import cv2
import numpy as np
import numpy.typing as npt

from .image import MAX_PIXELS, decode
from .resample import Filter, resample

Array: TypeAlias = npt.NDArray[Any]
#: OpenCV's; or Pillow's, which takes the mean where it makes an image smaller. exact_linear does not round to whole
#: pixel values, as torchvision's resize(antialias=False) of a tensor in 0 to 1 does not.
Interpolation: TypeAlias = Literal["nearest", "linear", "exact_linear", "cubic", "area"] | Filter

_OPENCV: Final[dict[str, int]] = {
    "nearest": cv2.INTER_NEAREST,
    "linear": cv2.INTER_LINEAR,
    "cubic": cv2.INTER_CUBIC,
    "area": cv2.INTER_AREA,
}


class Geometry(NamedTuple):
    """How pixels of the original image map to the model's: x_model = x_original * scale_x + pad_x.

    It travels from the preprocess to the postprocess step as a float32 [6] tensor in this order.
    """

    height: float
    width: float
    scale_x: float = 1.0
    scale_y: float = 1.0
    pad_x: float = 0.0
    pad_y: float = 0.0


#: What else a model may take, float32 [2]: scale_factor is by how much the image was scaled, (y, x), and im_shape its
#: height and width in pixels as the model sees it, both by Paddle's names; input_wh is the same as (width, height).
#: original_hw and original_wh are the size of the image that was sent, as RT-DETR's and D-FINE's orig_target_sizes.
ExtraInput: TypeAlias = Literal["scale_factor", "im_shape", "input_wh", "original_hw", "original_wh"]


class Frame(NamedTuple):
    """An image on its way to the model: pixels [height, width, C] (later [C, height, width]), C being 3 or 1."""

    pixels: Array
    geometry: Geometry


def _resized(frame: Frame, height: int, width: int, interpolation: Interpolation) -> Frame:
    before_height, before_width = frame.pixels.shape[:2]
    if (height, width) == (before_height, before_width):
        return frame
    match interpolation:
        case "pillow_linear" | "pillow_cubic":
            pixels = resample(frame.pixels, height, width, interpolation)
        case "exact_linear":
            pixels = cv2.resize(frame.pixels.astype(np.float32), (width, height), interpolation=cv2.INTER_LINEAR)
        case _:
            pixels = cv2.resize(frame.pixels, (width, height), interpolation=_OPENCV[interpolation])
    pixels = pixels.reshape(height, width, -1)  # OpenCV leaves a single channel out
    ratio_x, ratio_y, was = width / before_width, height / before_height, frame.geometry
    return Frame(
        pixels,
        was._replace(
            scale_x=was.scale_x * ratio_x,
            scale_y=was.scale_y * ratio_y,
            pad_x=was.pad_x * ratio_x,
            pad_y=was.pad_y * ratio_y,
        ),
    )


def _padded(inner: Array, size: tuple[int, int], corner: tuple[int, int], fill: int) -> Array:
    """Pixels with their upper left ones at a corner (y, x) of a size (height, width), and the rest filled."""
    (top, left), (height, width, channels) = corner, inner.shape
    pixels = np.empty((*size, channels), inner.dtype)
    pixels[:top] = pixels[top + height :] = fill
    rows = pixels[top : top + height]
    rows[:, :left] = rows[:, left + width :] = fill
    rows[:, left : left + width] = inner
    return pixels


def _shifted(frame: Frame, pixels: Array, left: int, top: int) -> Frame:
    was = frame.geometry
    return Frame(pixels, was._replace(pad_x=was.pad_x + left, pad_y=was.pad_y + top))


@dataclass(frozen=True)
class Letterbox:
    """Scale to fit into size (height, width), place, and fill the rest.

    In the centre, the rounding is that of letterbox() in ultralytics/yolov5, utils/augmentations.py; at the top left,
    that of preproc() in Megvii-BaseDetection/YOLOX, yolox/data/data_augment.py, which rounds the scaled size down.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}
    size: tuple[int, int]
    op: Literal["letterbox"] = "letterbox"
    fill: int = 114
    interpolation: Interpolation = "linear"
    #: Where the scaled image lies: YOLOX wants it at the top left.
    align: Literal["center", "top_left"] = "center"
    #: What results are mapped back by: how much the pixels were scaled, or the ratio before sizes became whole, as
    #: LibreYOLO does; that is off by less than a pixel of the model's input.
    back: Literal["pixels", "ratio"] = "pixels"

    def __call__(self, frame: Frame) -> Frame:
        height, width = frame.pixels.shape[:2]
        ratio = min(self.size[0] / height, self.size[1] / width)
        rounded = round if self.align == "center" else int
        inner_height = min(max(rounded(height * ratio), 1), self.size[0])
        inner_width = min(max(rounded(width * ratio), 1), self.size[1])
        was, frame = frame.geometry, _resized(frame, inner_height, inner_width, self.interpolation)
        if self.back == "ratio":
            by_ratio = frame.geometry._replace(scale_x=was.scale_x * ratio, scale_y=was.scale_y * ratio)
            frame = frame._replace(geometry=by_ratio)
        top = left = 0
        if self.align == "center":
            spare_y, spare_x = self.size[0] - inner_height, self.size[1] - inner_width
            top, left = round(spare_y / 2 - 0.1), round(spare_x / 2 - 0.1)
        return _shifted(frame, _padded(frame.pixels, self.size, (top, left), self.fill), left, top)


@dataclass(frozen=True)
class Resize:
    """Stretch to size (height, width), whatever the aspect ratio was."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}
    size: tuple[int, int]
    op: Literal["resize"] = "resize"
    interpolation: Interpolation = "linear"

    def __call__(self, frame: Frame) -> Frame:
        return _resized(frame, *self.size, self.interpolation)


@dataclass(frozen=True)
class ResizeShort:
    """Scale so that the shorter side has the given number of pixels."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}
    pixels: int
    op: Literal["resize_short"] = "resize_short"
    interpolation: Interpolation = "linear"
    #: The longer side is never scaled beyond this, so that a 1 x 60000 image cannot exhaust memory.
    longest: int = 8192
    #: How the longer side becomes whole: the nearest number, or, as torchvision has it, the one below.
    rounding: Literal["nearest", "down"] = "nearest"

    def __call__(self, frame: Frame) -> Frame:
        height, width = frame.pixels.shape[:2]
        shorter, whole = min(height, width), round if self.rounding == "nearest" else int
        sides = (whole(self.pixels * side / shorter) for side in (height, width))
        new_height, new_width = (min(max(side, self.pixels), self.longest) for side in sides)
        return _resized(frame, new_height, new_width, self.interpolation)


@dataclass(frozen=True)
class ResizeHeight:
    """Scale to the height of size (height, width), the width in proportion but no wider than size; fill on the right.

    So PP-OCR's classifiers see a line of text: resize_norm_img() in PaddlePaddle/PaddleOCR, tools/infer/predict_cls.py,
    which rounds the width up, and fills with the mean 0.5.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}
    size: tuple[int, int]
    op: Literal["resize_height"] = "resize_height"
    fill: int = 127
    interpolation: Interpolation = "linear"

    def __call__(self, frame: Frame) -> Frame:
        before_height, before_width = frame.pixels.shape[:2]
        height, widest = self.size
        width = min(math.ceil(height * (before_width / before_height)), widest)
        frame = _resized(frame, height, width, self.interpolation)
        return frame._replace(pixels=_padded(frame.pixels, self.size, (0, 0), self.fill))


@dataclass(frozen=True)
class CenterCrop:
    """Cut size (height, width) out of the middle; the image must be at least that large."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}
    size: tuple[int, int]
    op: Literal["center_crop"] = "center_crop"
    #: How half a pixel of the border becomes whole: the number below, or, as torchvision has it, the even one.
    rounding: Literal["down", "even"] = "down"

    def __call__(self, frame: Frame) -> Frame:
        height, width = frame.pixels.shape[:2]
        spare_y, spare_x = height - self.size[0], width - self.size[1]
        top, left = (spare // 2 if self.rounding == "down" else round(spare / 2) for spare in (spare_y, spare_x))
        if top < 0 or left < 0:
            raise ValueError(f"center_crop of {self.size} from an image of only {(height, width)}")
        pixels = frame.pixels[top : top + self.size[0], left : left + self.size[1]]
        return _shifted(frame, pixels, -left, -top)


@dataclass(frozen=True)
class Rgb:
    """Reverse OpenCV's channel order, BGR, to RGB."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}
    op: Literal["rgb"] = "rgb"

    def __call__(self, frame: Frame) -> Frame:
        return frame._replace(pixels=cv2.cvtColor(frame.pixels, cv2.COLOR_BGR2RGB))


@dataclass(frozen=True)
class Grey:
    """Turn BGR to grey, one channel: 0.299 R + 0.587 G + 0.114 B, rounded, as cv2.COLOR_BGR2GRAY has it.

    Pillow's convert("L") differs from that by at most 1 of 255.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}
    op: Literal["grey"] = "grey"

    def __call__(self, frame: Frame) -> Frame:
        return frame._replace(pixels=cv2.cvtColor(frame.pixels, cv2.COLOR_BGR2GRAY)[:, :, np.newaxis])


@dataclass(frozen=True)
class Normalize:
    """Compute (pixel * scale - mean) / std per channel in float32; the channel order is the image's."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}
    op: Literal["normalize"] = "normalize"
    scale: float = 1 / 255
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    _factor: Array = field(init=False, repr=False, compare=False)
    _offset: Array = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        std = np.asarray(self.std, np.float64)
        object.__setattr__(self, "_factor", (self.scale / std).astype(np.float32))
        object.__setattr__(self, "_offset", (np.asarray(self.mean) / std).astype(np.float32))

    def __call__(self, frame: Frame) -> Frame:
        height, width, channels = frame.pixels.shape
        # Channel by channel, into the order that Chw wants: on whole interleaved pixels NumPy takes 17 times as long.
        planes = np.empty((channels, height, width), np.float32)
        for plane, out, factor, offset in zip(cv2.split(frame.pixels), planes, *self.factors(channels), strict=True):
            np.multiply(plane, factor, out=out)
            if offset:
                out -= offset
        return frame._replace(pixels=planes.transpose(1, 2, 0))

    def factors(self, channels: int) -> tuple[Array, Array]:
        """What a pixel is multiplied by, and what is subtracted then, float32 [channels] each."""
        factor, offset = (np.broadcast_to(each, channels) for each in (self._factor, self._offset))
        return factor, offset


@dataclass(frozen=True)
class Chw:
    """Move the channels first, [height, width, C] to [C, height, width]."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}
    op: Literal["chw"] = "chw"

    def __call__(self, frame: Frame) -> Frame:
        return frame._replace(pixels=np.ascontiguousarray(frame.pixels.transpose(2, 0, 1)))


PreOp: TypeAlias = Letterbox | Resize | ResizeShort | ResizeHeight | CenterCrop | Rgb | Grey | Normalize | Chw

#: Operations that do the same to every channel.
_COLOURLESS: Final = frozenset({Letterbox, Resize, ResizeShort, ResizeHeight, CenterCrop})
#: Each operation by the name that a spec calls it.
PRE_OPS: Final[dict[str, type[PreOp]]] = {each.op: each for each in get_args(PreOp)}


def extra_input(kind: ExtraInput, frame: Frame) -> Array:
    """The tensor of an extra input for one preprocessed image."""
    # Bytes are [height, width, C] still: a graph that takes them moves the channels.
    size = frame.pixels.shape[:2] if frame.pixels.dtype == np.uint8 else frame.pixels.shape[1:]
    was, (height, width) = frame.geometry, size
    values: dict[ExtraInput, tuple[float, float]] = {
        "scale_factor": (was.scale_y, was.scale_x),
        "im_shape": (height, width),
        "input_wh": (width, height),
        "original_hw": (was.height, was.width),
        "original_wh": (was.width, was.height),
    }
    return np.asarray(values[kind], np.float32)


def preprocess(data: bytes, ops: Sequence[PreOp], max_pixels: int = MAX_PIXELS) -> Frame:
    """Decode one encoded image and apply the operations in order.

    Returns:
        pixels: the model's input without the batch, as the last operation leaves it.
        geometry: where those pixels came from.

    Raises:
        qtriton.runtime.image.ImageError: the image cannot be decoded.
    """
    return transform(decode(data, max_pixels, rgb=decodes_rgb(ops)), ops)


def decodes_rgb(ops: Sequence[PreOp]) -> bool:
    """Whether an image can be decoded to RGB at once, as nothing that looks at colours is before {op: rgb}."""
    kinds = [type(op) for op in ops]
    return kinds.count(Rgb) == 1 and all(kind in _COLOURLESS for kind in kinds[: kinds.index(Rgb)])


def transform(pixels: Array, ops: Sequence[PreOp]) -> Frame:
    """Apply the operations in order to a decoded image, [height, width, 3]; the result is as of preprocess().

    It is BGR, or RGB where `decodes_rgb`.
    """
    frame = Frame(pixels, Geometry(*map(float, pixels.shape[:2])))
    skipped = Rgb if decodes_rgb(ops) else None
    for op in ops:
        frame = frame if type(op) is skipped else op(frame)
    return frame
