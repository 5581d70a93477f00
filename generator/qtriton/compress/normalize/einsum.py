"""Einsum of one or two operands as transpositions, sums and one matrix product."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from qtriton.compress.normalize.graph import Graph, Replacement, attributes_of, describe
from qtriton.compress.normalize.reductions import sum_over
from qtriton.errors import ConversionError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from onnx import NodeProto

_SPARE_LETTERS: Final = "αβγδεζηθ"


def einsum(graph: Graph, node: NodeProto) -> Sequence[NodeProto]:
    """A sum of products over named axes; ranges of axes ("...") get letters of their own."""
    terms, result, sizes = _parse(graph, node)
    new = Replacement(graph, node)
    operands = [
        _sum_up(new, name, term, [letter for letter in term if letter in result or _is_shared(letter, terms)])
        for name, term in zip(node.input, terms, strict=True)
    ]
    if len(operands) == 1:
        name, letters = operands[0]
        return new.ending_with(_ordered(graph, new, name, letters, result))
    if operands[0][0] in graph.constants:  # ACT takes the second operand of a product for weights
        operands.reverse()
    (left, left_letters), (right, right_letters) = operands
    both = [letter for letter in left_letters if letter in right_letters]
    batch, inner = ([x for x in both if x in result], [x for x in both if x not in result])
    rows = [letter for letter in left_letters if letter not in both]
    columns = [letter for letter in right_letters if letter not in both]
    left = _ordered(graph, new, left, left_letters, [*batch, *rows, *inner])
    right = _ordered(graph, new, right, right_letters, [*batch, *inner, *columns])

    def size(letters: Sequence[str]) -> int:
        return int(np.prod([sizes[letter] for letter in letters], dtype=np.int64))

    outer = [sizes[letter] for letter in batch]
    product = new(
        "MatMul",
        _reshaped(graph, new, left, [*outer, size(rows), size(inner)]),
        _reshaped(graph, new, right, [*outer, size(inner), size(columns)]),
    )
    letters = [*batch, *rows, *columns]
    shaped = new.reshape(product, [sizes[letter] for letter in letters])
    return new.ending_with(_ordered(graph, new, shaped, letters, result))


def _parse(graph: Graph, node: NodeProto) -> tuple[list[list[str]], list[str], dict[str, int]]:
    """The letters of each operand and of the result, and the size of each."""
    equation = attributes_of(node)["equation"].decode().replace(" ", "")
    left, arrow, right = equation.partition("->")
    shapes = [graph.shape(name, node) for name in node.input]
    terms: list[list[str]] = []
    for term, shape in zip(left.split(","), shapes, strict=True):
        spare = len(shape) - len(term.replace("...", ""))
        terms.append(list(term.replace("...", _SPARE_LETTERS[len(_SPARE_LETTERS) - spare :])))
    letters = [letter for term in terms for letter in term]
    spares = "".join(letter for letter in _SPARE_LETTERS if letter in letters)
    if not arrow:
        right = "..." + "".join(sorted(letter for letter in set(letters) - {*spares} if letters.count(letter) == 1))
    sizes: dict[str, int] = {}
    for term, shape in zip(terms, shapes, strict=True):
        for letter, size in zip(term, shape, strict=True):
            if sizes.setdefault(letter, size) != size:
                raise ConversionError(f"{describe(node)}: it spreads an axis")
    if len(terms) > 2 or any(len(set(term)) < len(term) for term in terms):
        raise ConversionError(f"{describe(node)}: it computes {equation}")
    return terms, list(right.replace("...", spares)), sizes


def _is_shared(letter: str, terms: Sequence[Sequence[str]]) -> bool:
    return len(terms) == 2 and all(letter in term for term in terms)


def _sum_up(new: Replacement, name: str, term: Sequence[str], kept: Sequence[str]) -> tuple[str, list[str]]:
    """An operand without the axes that neither the result nor the other operand has."""
    axes = [axis for axis, letter in enumerate(term) if letter not in kept]
    if not axes:
        return name, list(term)
    return sum_over(new, name, axes, keepdims=0), list(kept)


def _ordered(graph: Graph, new: Replacement, name: str, letters: Sequence[str], wanted: Sequence[str]) -> str:
    if list(letters) == list(wanted):
        return name
    order, constant = [letters.index(letter) for letter in wanted], graph.constants.get(name)
    return new("Transpose", name, perm=order) if constant is None else new.constant(constant.transpose(order))


def _reshaped(graph: Graph, new: Replacement, name: str, shape: Sequence[int]) -> str:
    """A tensor in another shape; a constant stays one, as ACT quantizes products with constants only."""
    constant = graph.constants.get(name)
    return new.reshape(name, shape) if constant is None else new.constant(constant.reshape(shape))
