"""The list that keeps `qtriton check` and the server together: each rule broken, each rule kept."""

from typing import Final

from e2e.check_cases.case import Case
from e2e.check_cases.ensembles import ENSEMBLES
from e2e.check_cases.field import FIELD
from e2e.check_cases.files import FILES
from e2e.check_cases.onnx_files import MODEL_FILES
from e2e.check_cases.parameters import PARAMETERS
from e2e.check_cases.rendered import RENDERED
from e2e.check_cases.spelling import SPELLING
from e2e.check_cases.tensors import SEQUENCES, TENSORS

__all__ = ["CASES", "Case"]

CASES: Final = (
    *TENSORS, *SEQUENCES, *ENSEMBLES, *FILES, *MODEL_FILES, *PARAMETERS, *SPELLING, *FIELD, *RENDERED
)  # fmt: skip
