"""When a converted model counts as the same one."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from qtriton.builder import conversion
from qtriton.builder.conversion import check_conversion
from qtriton.errors import ConversionError

Array = npt.NDArray[Any]
SPEC: Any = SimpleNamespace(name="net", input=SimpleNamespace(dims=(3, 4, 4)))


@pytest.fixture
def original(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Makes ONNX Runtime give what the test says."""

    def gives(value: Array) -> None:
        class Run:
            inputs = outputs = (SimpleNamespace(name="y"),)

            def __call__(self, feed: object) -> dict[str, Array]:
                return {"y": value}

        @contextmanager
        def running(*_: object) -> Iterator[Run]:
            yield Run()

        monkeypatch.setattr(conversion, "running", running)

    return gives


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.bool_])
def test_ids_are_compared_one_by_one(original: Any, dtype: Any) -> None:
    right = np.zeros(1000, dtype)
    original(right)
    check_conversion(Path("net.onnx"), [right], SPEC)

    wrong = right.copy()
    wrong[:5] = 1  # one less than 0 is 255 in uint8, and 1000 zeros have no size
    check_conversion(Path("net.onnx"), [wrong.astype(np.int64)], SPEC)
    wrong[:80] = 1
    with pytest.raises(ConversionError, match=r"differ by 8\.0%"):
        check_conversion(Path("net.onnx"), [wrong], SPEC)


def test_nothing_but_zeros_is_the_same_as_itself_only(original: Any) -> None:
    zeros = np.zeros((1, 4), np.float32)
    original(zeros)
    check_conversion(Path("net.onnx"), [zeros], SPEC)
    with pytest.raises(ConversionError, match="differ by inf%"):
        check_conversion(Path("net.onnx"), [zeros + 1], SPEC)


def test_an_output_without_rows_is_no_difference(original: Any) -> None:
    original(np.zeros((0, 6), np.float32))
    check_conversion(Path("net.onnx"), [np.zeros((0, 6), np.float32)], SPEC)
