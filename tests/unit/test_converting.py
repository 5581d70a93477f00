"""What is said where x2paddle gives up: the operation and its node."""

from types import SimpleNamespace
from typing import Any, NoReturn

import pytest

from qtriton.compress.converting import checker
from qtriton.errors import CompressionError


def node(op: str, output: str) -> Any:
    return SimpleNamespace(layer_type=op, layer_name=f"x2paddle_{output}")


class Ops:
    directly_map_ops = ("Sqrt",)
    elementwise_ops = ("Add",)
    weights = "these"

    def Conv(self, node: Any) -> str:
        return f"converted {node.layer_type}"

    def Resize(self, node: Any) -> NoReturn:
        raise SystemExit(0)

    def Slice(self, node: Any) -> NoReturn:
        raise AssertionError("no such axis")


def mapper(*nodes: Any) -> Any:
    by_name = {each.layer_name: each for each in nodes}
    graph = SimpleNamespace(topo_sort=list(by_name), get_node=by_name.__getitem__)
    return SimpleNamespace(opset=Ops(), graph=graph)


def test_an_operation_that_x2paddle_lacks_is_named_with_its_node() -> None:
    with pytest.raises(CompressionError, match=r"^x2paddle has no Asinh \(node odd_one\)\.$"):
        checker({"a": "odd_one"})(mapper(node("Sqrt", "s"), node("Add", "t"), node("Asinh", "a")))


def test_a_node_without_a_name_is_known_by_its_output() -> None:
    with pytest.raises(CompressionError, match=r"Asinh \(node a\)"):
        checker({})(mapper(node("Asinh", "a")))


@pytest.mark.parametrize(
    ("op", "expected"),
    [("Resize", r"Resize \(node r\) \(SystemExit\)"), ("Slice", r"\(AssertionError: no such axis\)")],
)
def test_a_form_that_x2paddle_does_not_take_is_named_even_where_it_ends_the_process(op: str, expected: str) -> None:
    asked = mapper(node(op, "r"))
    assert checker({})(asked)
    with pytest.raises(CompressionError, match=expected):
        getattr(asked.opset, op)(node(op, "r"))


def test_what_x2paddle_takes_is_left_to_it() -> None:
    asked = mapper(node("Conv", "c"))
    assert checker({})(asked)
    assert asked.opset.Conv(node("Conv", "c")) == "converted Conv" and asked.opset.weights == "these"
    assert not hasattr(asked.opset, "Asinh")
