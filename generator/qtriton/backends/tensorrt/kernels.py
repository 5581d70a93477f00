"""Reads what TensorRT-RTX tells of an engine: what each kernel computes, in which type, and for which ONNX nodes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from typing import Final

from qtriton.backends.tensorrt.engine import COMPUTED

#: What the message begins with; TensorRT-RTX tells it with the severity VERBOSE when the engine is done.
HEADLINE: Final = "Layers:"
_KERNEL: Final = re.compile(
    r"^Name: (?P<name>.*?), LayerType: (?P<kind>\w+), Inputs: \[(?P<inputs>.*?)\], Constants: \[(?P<constants>.*?)\], "
    r"Outputs: \[(?P<outputs>.*?)\], TacticName: (?P<rest>.*)$",
    re.MULTILINE,
)
_TENSOR: Final = re.compile(r"Dimensions: \[(?P<dims>[-\d,]*)\].*?Datatype: (?P<datatype>\w+)")
_NODE: Final = re.compile(r"\[ONNX Layer: (.*?)\](?=\W*\[ONNX Layer: |\W*$)")
#: Kinds that compute nothing: they order streams, and compute shapes on the CPU.
_ORDERING: Final = frozenset({"signal", "wait", "shape_call"})
#: Convolutions and products of matrices, alone and with what is fused into them.
_MULTIPLYING: Final = frozenset({"correlation", "gemm", "runtime_fusion"})
#: A whole attention, its products and the softmax between them, is generated, and called _gemm_mha_v2_myl0_8.
_ATTENTION: Final = "_gemm_mha"
#: A generated kernel is named by what it does, as in __myl_MulAddReluMulMinMaxRounCast_myl0_3; these change no value.
_GENERATED: Final = re.compile(r"^__myl_((?:[A-Z][a-z0-9]*)+)_myl")
_MOVES: Final = frozenset({"Cast", "Conc", "Copy", "Move", "Repl", "Resh", "Slic", "Tran"})


@dataclass(frozen=True)
class Kernel:
    """One launch on the GPU."""

    #: The compiler's own name and kind of it: correlation, gemm, runtime_fusion, kgen, maxpool ...
    name: str
    kind: str
    #: The type of what it multiplies with, or of its first input; "-" where it has neither.
    datatype: str
    #: The types of its outputs.
    outputs: tuple[str, ...]
    #: The ONNX nodes that it computes, the Q/DQ of its inputs and weights among them.
    nodes: tuple[str, ...]

    @property
    def multiplies(self) -> bool:
        """Whether it is a convolution or a product of matrices."""
        return self.kind in _MULTIPLYING or self.name.startswith(_ATTENTION)

    @property
    def moves(self) -> bool:
        """Whether it only converts types or moves data."""
        generated = _GENERATED.match(self.name)
        return generated is not None and set(re.findall("[A-Z][a-z0-9]*", generated[1])) <= _MOVES


def read_kernels(message: str) -> tuple[Kernel, ...]:
    """The kernels of an engine, in the order in which they run; none where a version tells of them in another form."""
    found = (_kernel(match) for match in _KERNEL.finditer(message))
    return tuple(kernel for kernel in found if kernel.kind not in _ORDERING)


def _kernel(match: re.Match[str]) -> Kernel:
    inputs, constants, outputs = (list(_tensors(match[side])) for side in ("inputs", "constants", "outputs"))
    weights = [each for each in constants if each[0] > 1] if match["kind"] in _MULTIPLYING else []
    _, datatype = max(weights, key=lambda each: each[0], default=(inputs or constants or [(0, "-")])[0])
    nodes = tuple(_NODE.findall(match["rest"]))
    return Kernel(match["name"], match["kind"], datatype, tuple(each for _, each in outputs), nodes)


def _tensors(text: str) -> Iterator[tuple[int, str]]:
    """How many values each tensor has, a free size counted as one, and its type."""
    for tensor in _TENSOR.finditer(text):
        sizes = [abs(int(size)) for size in tensor["dims"].split(",") if size]
        yield prod(sizes), COMPUTED.get(tensor["datatype"].lower(), tensor["datatype"])
