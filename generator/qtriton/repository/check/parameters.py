"""Rules of the values in `parameters`, as the backends of ONNX Runtime and OpenVINO in Triton 24.10 read them."""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from qtriton.repository.check.model import Model, enum_name
from qtriton.repository.check.rules import Finding, Rule, error

VALUE: Final = error("parameter-value", "the parameter {name} is {value!r}", "Write {expected}")


@dataclass(frozen=True)
class Values:
    """What a backend takes as the text of a parameter."""

    #: What to write, as the way out says it.
    text: str
    pattern: re.Pattern[str]

    def takes(self, value: str) -> bool:
        """Whether the backend does."""
        return self.pattern.fullmatch(value) is not None


def _values(text: str, pattern: str) -> Values:
    return Values(text, re.compile(pattern, re.ASCII | re.IGNORECASE | re.DOTALL))


#: The backend of ONNX Runtime reads a number at the beginning and takes whatever follows it.
NUMBER: Final = _values("a whole number", r"\s*[+-]?\d.*")
BOOLEAN: Final = _values("true or false", "true|false|on|off|0|1")
_COUNT: Final = _values("a whole number, 0 or more", r"\d+")


def _choice(*numbers: str) -> Values:
    return _values(" or ".join(numbers), rf"\s*[+-]?0*({'|'.join(numbers)})(\D.*)?")


_ONNX_RUNTIME: Final = {
    "execution_mode": _choice("0", "1"),
    "intra_op_thread_count": NUMBER,
    "inter_op_thread_count": NUMBER,
    "enable_mem_arena": BOOLEAN,
    "enable_mem_pattern": BOOLEAN,
}
#: Read for instances on a GPU.
_ONNX_RUNTIME_GPU: Final = {
    "cudnn_conv_algo_search": _choice("0", "1", "2"),
    "arena_extend_strategy": _choice("0", "1"),
}
#: Read for instances on the CPU; an empty text is passed over.
_OPENVINO: Final = {
    "INFERENCE_NUM_THREADS": _COUNT,
    "COMPILATION_NUM_THREADS": _COUNT,
    "HINT_BF16": _values("YES, or remove it", "yes"),
    "NUM_STREAMS": _values("AUTO, NUMA or a whole number", r"auto|numa|\d+"),
    "PERFORMANCE_HINT": _values(
        "LATENCY, THROUGHPUT or CUMULATIVE_THROUGHPUT", "latency|throughput|cumulative_throughput"
    ),
}


def may_use_gpu(model: Model) -> bool:
    """Whether an instance may run on a GPU; the backends read some settings only then."""
    groups = model.config.instance_group
    return not groups or any(enum_name(group, "kind") in ("KIND_GPU", "KIND_AUTO") for group in groups)


def _parameters(model: Model, _: Mapping[str, Model]) -> Iterator[Finding]:
    known: dict[str, Values] = {}
    if model.kind == "onnxruntime":
        known = _ONNX_RUNTIME | (_ONNX_RUNTIME_GPU if may_use_gpu(model) else {})
    elif model.kind == "openvino":
        known = _OPENVINO
    for name, values in known.items():
        value = model.parameter(name)
        skipped = value is None or (model.kind == "openvino" and not value)
        if not skipped and not values.takes(str(value)):
            yield VALUE.found("parameters", name, name=name, value=value, expected=values.text)


PARAMETER_RULES: Final[tuple[Rule, ...]] = (VALUE,)
PARAMETER_CHECKS: Final[tuple[Callable[[Model, Mapping[str, Model]], Iterator[Finding]], ...]] = (_parameters,)
