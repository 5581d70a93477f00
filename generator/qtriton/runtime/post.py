"""The operations between a model's raw outputs and the results that a client reads."""

from collections.abc import Sequence
from typing import Any, TypeAlias, get_args

from .detections import Nms
from .end2end import Detections, DetectionTensors, OnnxNms
from .grids import NanodetHead, PicoHead, YoloxHead
from .heads import DetrHead, End2EndHead, Yolo8Head, YoloHead
from .instances import InstanceMasks
from .maps import ArgMax, ClassesFirst, Mask, Threshold, Upsample
from .poses import Pose
from .pre import Geometry
from .rotated import RotatedNms
from .scores import MultiLabel, Sigmoid, Softmax, TopK, TwoClasses
from .text import TextBoxes
from .values import Array, Results

HeadOp: TypeAlias = YoloHead | Yolo8Head | End2EndHead | YoloxHead | DetrHead | NanodetHead | PicoHead
DetectionOp: TypeAlias = HeadOp | Nms | Detections | DetectionTensors | OnnxNms
ObjectOp: TypeAlias = Pose | InstanceMasks | RotatedNms | TextBoxes
ScoreOp: TypeAlias = Softmax | Sigmoid | TwoClasses | TopK | MultiLabel
MapOp: TypeAlias = ClassesFirst | Upsample | ArgMax | Threshold | Mask
PostOp: TypeAlias = DetectionOp | ObjectOp | ScoreOp | MapOp

#: Each operation by the name that a spec calls it.
POST_OPS: dict[str, type[PostOp]] = {each.op: each for each in get_args(PostOp)}


def postprocess(outputs: Sequence[Array], geometry: Geometry, ops: Sequence[PostOp]) -> Results:
    """Apply the operations in order to the raw outputs of one image (each without the batch)."""
    value: Any = outputs
    for op in ops:
        value = op(value, geometry)
    results: Results = value
    return results
