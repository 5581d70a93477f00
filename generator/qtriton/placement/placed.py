"""A model as its artifact and the steps around it share the work: what the graph does, and what is left of the spec."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from qtriton.backends.base import Moves
from qtriton.backends.runner import Signature, TensorInfo
from qtriton.compress.normalize.opset import upgrade, with_output_shapes
from qtriton.errors import ModelError
from qtriton.placement.classes import ClassChoice, choose_classes
from qtriton.placement.prologue import take_pixels
from qtriton.placement.selection import RowSelection, select_rows
from qtriton.placement.split import Epilogue, Prologue
from qtriton.quantize.graph import inputs_of
from qtriton.spec import ModelSpec

if TYPE_CHECKING:
    from onnx import ModelProto

#: Of the axes that are inputs, and of GatherND with batches.
_MIN_OPSET: Final = 13
#: The format of files of that opset; before 4, every constant was an input too.
_MIN_IR: Final = 7


class PlacedSpec(ModelSpec):
    """A spec whose operations are those of the steps; it is made of a valid one, and not validated again."""

    #: Whether the model takes pixels, uint8 [batch, height, width, C].
    pixels: bool = False
    #: How many class ids the graph chooses among; 0 where it chooses none.
    ids: int = 0
    #: The score that a row needs to leave the graph; none where the graph looks at none.
    above: float | None = None

    @property
    def fed(self) -> tuple[tuple[int, ...], Any]:
        """The shape of an image without the batch, and its dtype, as the preprocess step gives it."""
        channels, height, width = self.input.dims
        return ((height, width, channels), np.uint8) if self.pixels else super().fed


@dataclass(frozen=True)
class Placed:
    """Where the operations of a model are."""

    #: The model as the steps have it.
    spec: ModelSpec
    prologue: Prologue | None = None
    epilogue: Epilogue | None = None
    #: What the runtime of the graph is best at; none where nothing moves.
    moves: Moves | None = None

    @classmethod
    def of(cls, spec: ModelSpec, prologue: Prologue | None, epilogue: Epilogue | None, moves: Moves) -> Placed:
        """A spec without what the graph does."""
        if prologue is None and epilogue is None:
            return cls(spec)
        fields: dict[str, Any] = {name: getattr(spec, name) for name in ModelSpec.model_fields}
        if prologue is not None:
            fields |= {"preprocess": prologue.before, "pixels": True}
        if epilogue is not None and isinstance(epilogue.does, RowSelection):
            if not moves.free_rows:
                epilogue = replace(epilogue, does=replace(epilogue.does, above=None))
            fields |= {"postprocess": epilogue.behind, "above": epilogue.does.above}
        elif epilogue is not None:
            fields |= {"postprocess": epilogue.behind, "ids": epilogue.classes}
        return cls(PlacedSpec.model_construct(**fields), prologue, epilogue, moves)

    @property
    def key(self) -> str:
        """What an artifact depends on of this."""
        return repr((self.prologue, self.epilogue and self.epilogue.does, self.moves))

    def outputs(self, whole: Signature) -> Signature:
        """The tensors of a model once the epilogue is in its graph."""
        if self.epilogue is None:
            return whole
        first, *others = whole.outputs
        does = self.epilogue.does
        if isinstance(does, ClassChoice):
            sizes = tuple(size for axis, size in enumerate(first.shape) if axis != does.axis)
            changed = replace(first, datatype="UINT8", shape=sizes)
        else:
            count = does.count if does.above is None else -1
            changed = replace(first, shape=(first.shape[0], count, first.shape[3 - does.axis]))
        return replace(whole, outputs=(changed, *others))

    def given(self, whole: Signature) -> tuple[TensorInfo, ...]:
        """What the postprocess step takes: it is one for all backends, some of which select a free number of rows."""
        outputs = self.outputs(whole).outputs
        if self.epilogue is None or isinstance(self.epilogue.does, ClassChoice):
            return outputs
        first, *others = outputs
        return (replace(first, shape=(first.shape[0], -1, *first.shape[2:])), *others)

    def require(self, path: Path) -> None:
        """Find out whether what moves can be written into the graph of an FP32 model.

        Raises:
            ModelError: it is of an old opset, and cannot be brought into a newer one.
        """
        import onnx

        if self.moves is not None:
            _upgraded(onnx.load(str(path)), self.spec.name)

    def write(self, path: Path) -> None:
        """Move into the graph of an ONNX file what belongs there.

        Raises:
            ModelError: it is of an old opset, and cannot be brought into a newer one.
        """
        import onnx

        if self.moves is None:
            return
        model = _upgraded(onnx.load(str(path)), self.spec.name)
        if self.epilogue is not None:
            output, does = model.graph.output[0].name, self.epilogue.does
            if isinstance(does, ClassChoice):
                choose_classes(model, output, does)
            else:
                select_rows(model, output, does)
        if self.prologue is not None:
            dims = self.spec.input.dims
            take_pixels(model, self._image(model), dims, self.prologue.normalize, self.moves)
        onnx.checker.check_model(model)
        path.write_bytes(model.SerializeToString(deterministic=True))

    def _image(self, model: Any) -> str:
        """The name of the input for the image, which an artifact with no other may call as it likes."""
        names = [value.name for value in inputs_of(model.graph)]
        return self.spec.input.name if self.spec.input.name in names else names[0]


def _upgraded(model: ModelProto, name: str) -> ModelProto:
    """The model in an opset that has what is written into it."""
    try:
        model = upgrade(with_output_shapes(model), _MIN_OPSET)
    except Exception as error:  # the converter raises kinds of its own
        raise ModelError(
            f"{name}: its opset cannot be raised to {_MIN_OPSET}, in which its graph could do more ({error}). Pass "
            "--placement steps, or export it with a newer opset."
        ) from error
    inputs = inputs_of(model.graph)
    del model.graph.input[:]
    model.graph.input.extend(inputs)
    model.ir_version = max(model.ir_version, _MIN_IR)
    return model
