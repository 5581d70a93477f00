"""A graph that takes pixels gives what it gave of pixels that the preprocess step had normalised."""

from collections.abc import Callable
from typing import Final

import numpy as np
import onnx
import pytest
from onnx import ModelProto

from qtriton.backends.base import Moves
from qtriton.placement.prologue import is_stepped, pixel_values, take_pixels
from qtriton.runtime.pre import Chw, Frame, Geometry, Normalize

from .nets import Array, Net, run

HEIGHT, WIDTH = 6, 8
IMAGENET: Final = Normalize(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
AS_FLOATS: Final = (Moves(0), Moves(0, cast_first=True))
AS_QUANTIZED: Final = Moves(0, as_quantized=True)
STEP: Final = 1 / 255


def images(channels: int, count: int = 2) -> Array:
    """Pixels uint8 [count, height, width, C], all values among them."""
    pixels = np.random.default_rng(4).integers(0, 256, (count, HEIGHT, WIDTH, channels), np.uint8)
    levels = np.arange(256, dtype=np.uint8)[: HEIGHT * WIDTH * count]
    pixels[..., 0] = np.resize(levels, pixels.shape[:3])
    return pixels


def normalised(pixels: Array, normalize: Normalize) -> Array:
    """What the preprocess step does with each image."""
    frames = [Chw()(normalize(Frame(image, Geometry(HEIGHT, WIDTH)))).pixels for image in pixels]
    return np.stack(frames)


def taking_pixels(model: ModelProto, channels: int, normalize: Normalize, moves: Moves) -> ModelProto:
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    take_pixels(copy, "x", (channels, HEIGHT, WIDTH), normalize, moves)
    onnx.checker.check_model(copy, full_check=True)
    kind = copy.graph.input[0].type.tensor_type
    assert kind.elem_type == onnx.TensorProto.UINT8
    assert [size.dim_value for size in kind.shape.dim][1:] == [HEIGHT, WIDTH, channels]
    return copy


def graph(write: Callable[[Net, str], str], shape: tuple[int | str, ...], channels: int = 3) -> ModelProto:
    net = Net()
    net.add("Identity", write(net, "x"), name="y")
    return net.model({"x": ["batch", channels, HEIGHT, WIDTH]}, {"y": ["batch", *shape]})


def ops(model: ModelProto) -> list[str]:
    return [node.op_type for node in model.graph.node]


@pytest.mark.parametrize("moves", AS_FLOATS, ids=["moved as bytes", "cast first"])
@pytest.mark.parametrize(
    ("normalize", "channels"),
    [
        (Normalize(), 3),
        (Normalize(), 1),
        (Normalize(mean=(0.5,), std=(0.5,)), 1),
        (Normalize(mean=(0.5,), std=(0.5,)), 3),
        (IMAGENET, 3),
        (Normalize(scale=1, mean=(103.53, 116.28, 123.675), std=(57.375, 57.12, 58.395)), 3),
        (Normalize(scale=1), 3),
        (Normalize(mean=(0.0, 0.5, 0.0)), 3),
    ],
    ids=["0 to 1", "grey", "grey, -1 to 1", "-1 to 1", "ImageNet", "of 0 to 255", "as they are", "one channel shifted"],
)
def test_the_graph_normalises_as_the_step_does(normalize: Normalize, channels: int, moves: Moves) -> None:
    model = graph(lambda net, x: net.add("Identity", x), (channels, HEIGHT, WIDTH), channels)
    pixels = images(channels)
    (expected,) = run(model, {"x": normalised(pixels, normalize)})
    (found,) = run(taking_pixels(model, channels, normalize, moves), {"x": pixels})
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-7)


def test_what_does_nothing_is_not_written() -> None:
    model = graph(lambda net, x: net.add("Relu", x), (3, HEIGHT, WIDTH))
    assert ops(taking_pixels(model, 3, Normalize(scale=1), Moves(0))) == ["Transpose", "Cast", "Relu", "Identity"]
    assert ops(taking_pixels(model, 3, Normalize(), Moves(0, cast_first=True)))[:3] == ["Cast", "Mul", "Transpose"]


def test_whatever_else_reads_the_image_reads_floats() -> None:
    """A shape that is computed of it too, which is that of [batch, C, height, width] still."""

    def write(net: Net, x: str) -> str:
        flat = net.add("Concat", net.slice(net.add("Shape", x), 0, 2, 0), net.constant([-1], np.int64), axis=0)
        return net.add("ReduceMean", net.add("Reshape", x, flat), axes=[2], keepdims=0)

    model, pixels = graph(write, (3,)), images(3)
    for moves in (*AS_FLOATS, AS_QUANTIZED):
        (found,) = run(taking_pixels(model, 3, IMAGENET, moves), {"x": pixels})
        np.testing.assert_allclose(found, run(model, {"x": normalised(pixels, IMAGENET)})[0], rtol=1e-6, atol=1e-6)


def test_a_graph_within_a_node_reads_floats_too() -> None:
    def branch(op: str) -> onnx.GraphProto:
        output = onnx.helper.make_tensor_value_info(op, onnx.TensorProto.FLOAT, None)
        return onnx.helper.make_graph([onnx.helper.make_node(op, ["x"], [op])], op, [], [output])

    net = Net()
    net.add("If", net.constant(True, np.bool_), name="y", then_branch=branch("Neg"), else_branch=branch("Abs"))
    shape: list[int | str] = ["batch", 3, HEIGHT, WIDTH]
    model, pixels = net.model({"x": shape}, {"y": shape}), images(3)
    for moves in (*AS_FLOATS, AS_QUANTIZED):
        (found,) = run(taking_pixels(model, 3, IMAGENET, moves), {"x": pixels})
        np.testing.assert_allclose(found, -normalised(pixels, IMAGENET), rtol=1e-6, atol=1e-6)


# Quantized at once: the pixel is the quantized value.


def quantized(net: Net, tensor: str, scale: float = STEP, zero: int = 0, kind: type = np.uint8) -> str:
    """A number of each quantized value, as a layer of integers reads it."""
    integers = net.add("QuantizeLinear", tensor, net.constant(scale), net.constant(zero, kind))
    return net.add("Cast", integers, to=onnx.TensorProto.FLOAT)


def both(model: ModelProto, normalize: Normalize, moves: Moves = AS_QUANTIZED) -> ModelProto:
    """The model of pixels, whose quantized values are those of the model of floats, every one."""
    pixels, made = images(3), taking_pixels(model, 3, normalize, moves)
    np.testing.assert_array_equal(run(made, {"x": pixels})[0], run(model, {"x": normalised(pixels, normalize)})[0])
    return made


def in_blocks(net: Net, x: str) -> str:
    """As a convolution of stride 2 on the image is written for integers."""
    return quantized(net, net.add("SpaceToDepth", x, blocksize=2))


def moved(net: Net, x: str) -> str:
    return quantized(net, net.reshape(net.add("Transpose", x, perm=[0, 2, 3, 1]), [0, HEIGHT, WIDTH, 3]))


def by_two(net: Net, x: str) -> str:
    return net.add("Add", quantized(net, x), quantized(net, net.add("Identity", x)))


@pytest.mark.parametrize(
    ("write", "shape"),
    [
        (quantized, (3, HEIGHT, WIDTH)),
        (in_blocks, (12, HEIGHT // 2, WIDTH // 2)),
        (moved, (HEIGHT, WIDTH, 3)),
        (by_two, (3, HEIGHT, WIDTH)),
    ],
)
def test_pixels_take_the_place_of_their_quantized_values(
    write: Callable[[Net, str], str], shape: tuple[int, ...]
) -> None:
    model = graph(write, shape)
    assert set(ops(both(model, Normalize()))) <= {"Transpose", "Reshape", "Split", "Concat", "Identity", "Add", "Cast"}
    for moves in AS_FLOATS:
        assert "QuantizeLinear" in ops(both(model, Normalize(), moves)), "the runtime rounds otherwise then"


def test_of_0_to_255_the_step_is_1() -> None:
    model = graph(lambda net, x: quantized(net, x, 1.0), (3, HEIGHT, WIDTH))
    assert "QuantizeLinear" not in ops(both(model, Normalize(scale=1)))


def with_float_reader(net: Net, x: str) -> str:
    return net.add("Add", quantized(net, x), net.add("Relu", x))


@pytest.mark.parametrize(
    ("write", "normalize"),
    [
        (lambda net, x: quantized(net, x, 2 / 255), Normalize()),
        (lambda net, x: quantized(net, x, STEP * 0.99), Normalize()),
        (lambda net, x: quantized(net, x, zero=3), Normalize()),
        (lambda net, x: quantized(net, x, 1 / 127, 0, np.int8), Normalize()),
        (lambda net, x: quantized(net, x, 1 / 60, 128), IMAGENET),
        (quantized, Normalize(mean=(0.0, 0.0, 0.1))),
        (with_float_reader, Normalize()),
    ],
    ids=["coarse", "a bit finer", "zero is 3", "signed", "ImageNet", "one channel shifted", "floats are read too"],
)
def test_where_the_quantized_value_is_not_the_pixel_it_is_computed(
    write: Callable[[Net, str], str], normalize: Normalize
) -> None:
    model = graph(write, (3, HEIGHT, WIDTH))
    pixels, made = images(3), taking_pixels(model, 3, normalize, AS_QUANTIZED)
    assert "QuantizeLinear" in ops(made)
    found, expected = run(made, {"x": pixels})[0], run(model, {"x": normalised(pixels, normalize)})[0]
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)


def test_an_image_that_leaves_the_graph_quantized() -> None:
    """Its tensor keeps its name and its maker."""
    net = Net()
    net.add("QuantizeLinear", "x", net.constant(STEP), net.constant(0, np.uint8), name="bytes")
    net.add("Cast", "bytes", name="y", to=onnx.TensorProto.FLOAT)
    shape: list[int | str | None] = ["batch", 3, HEIGHT, WIDTH]
    model = net.model({"x": ["batch", 3, HEIGHT, WIDTH]}, {"y": ["batch", 3, HEIGHT, WIDTH]})
    model.graph.output.append(onnx.helper.make_tensor_value_info("bytes", onnx.TensorProto.UINT8, shape))
    made = taking_pixels(model, 3, Normalize(), AS_QUANTIZED)
    pixels = images(3)
    for one, two in zip(run(made, {"x": pixels}), run(model, {"x": normalised(pixels, Normalize())}), strict=True):
        np.testing.assert_array_equal(one, two)


def test_what_becomes_of_every_value_of_a_pixel() -> None:
    values = pixel_values(IMAGENET, 3)
    assert values.shape == (3, 256) and values.dtype == np.float32
    np.testing.assert_allclose(values[1], (np.arange(256) / 255 - 0.456) / 0.224, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("normalize", "stepped"),
    [
        (Normalize(), True),
        (Normalize(scale=1), True),
        (Normalize(std=(0.5,)), True),
        (Normalize(std=(0.5, 0.5, 0.25)), False),
        (Normalize(mean=(0.5,), std=(0.5,)), False),
        (IMAGENET, False),
        (Normalize(scale=-1 / 255), False),
    ],
)
def test_values_are_steps_from_0_that_all_channels_share(normalize: Normalize, stepped: bool) -> None:
    assert is_stepped(pixel_values(normalize, 3)) is stepped
