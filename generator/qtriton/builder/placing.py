"""Where the operations of a model are on each backend of a build: the spec says what is computed, this says where."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtriton.backends import backend_for
from qtriton.builder.fp32 import read_signature
from qtriton.errors import ModelError, UnsupportedError
from qtriton.options import Placement
from qtriton.placement.placed import Placed
from qtriton.placement.split import epilogue_of, prologue_of
from qtriton.target import Target

if TYPE_CHECKING:
    from qtriton.builder.sources import Sources


def placed(sources: Sources, target: Target) -> Placed:
    """Where the operations are on the backend of a target, in whatever precision.

    Raises:
        UnsupportedError: all that can is to move into the graph, and nothing can.
        ModelError: it is to move, and the graph is of an opset that does not take it.
    """
    known = sources.context.placements
    if target.backend not in known:
        known[target.backend] = _placed(sources, target)
    return known[target.backend]


def _placed(sources: Sources, target: Target) -> Placed:
    spec, wanted, moves = sources.spec, sources.context.options.placement, backend_for(target).moves
    if wanted is Placement.STEPS or moves is None:
        return Placed(spec)
    first = read_signature(sources.unchanged_onnx(), spec).outputs[0]
    prologue, epilogue = prologue_of(spec), epilogue_of(spec, first.shape, first.datatype)
    if wanted is Placement.AUTO and epilogue is not None and epilogue.saving < moves.least_saving:
        epilogue = None
    if wanted is Placement.GRAPH and prologue is None and epilogue is None:
        raise UnsupportedError(
            f"{spec.name}: --placement graph: nothing of preprocess or postprocess can move into its graph. Leave the "
            "option out."
        )
    where = Placed.of(spec, prologue, epilogue, moves)
    try:
        where.require(sources.unchanged_onnx())
    except ModelError as error:
        if wanted is Placement.GRAPH:
            raise
        sources.context.warn_once(f"{error} Until then, the steps do all.")
        return Placed(spec)
    return where
