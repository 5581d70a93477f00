"""Whether a head gives what is read besides boxes and scores; a check gives the reason why not, or ""."""

from typing import Final

import numpy as np

from qtriton.builder.given import PARTS, Given, in_proportion, in_unit
from qtriton.builder.heads import candidates
from qtriton.runtime.poses import Pose
from qtriton.runtime.values import Array

#: An angle in radians is less than this: Ultralytics' are from a quarter of a turn back to three quarters of pi.
_MOST: Final = 2 * np.pi


def poses(given: Given) -> str:
    """Pose."""
    if reason := candidates(given):
        return reason
    assert isinstance(given.op, Pose)
    features, count = _features(given), given.op.keypoints
    if features.shape[1] not in (2 * count, 3 * count):
        return (
            f"there are {features.shape[1]} features a box, not two or three for each of {count} keypoints. Write "
            f"features: {3 * count} into the head before it, or as many keypoints as the model has."
        )
    if features.shape[1] == 3 * count and not in_unit(features[:, 2::3]):
        return "the keypoints have scores outside of 0 to 1. Export the model with its keypoints decoded."
    # All are zero where the model chooses the objects and has found none.
    if features.any() and np.abs(features.reshape(len(features), count, -1)[..., :2]).max() <= PARTS:
        return "the features are no keypoints in pixels of the input. Correct features and classes in the spec."
    return ""


def instance_masks(given: Given) -> str:
    """InstanceMasks."""
    if reason := candidates(given):
        return reason
    features, prototypes = given.value.features, given.value.prototypes
    if prototypes is None:
        return (
            "the head before it has no second output of prototypes [K, height, width]. Export the model with both of "
            "its outputs, and write them into outputs of the spec where they are not the first two."
        )
    if features is not None and features.shape[1] != len(prototypes):
        return (
            f"there are {features.shape[1]} features a box and {len(prototypes)} prototypes. Write features: "
            f"{len(prototypes)} into the head before it."
        )
    if not in_proportion(prototypes.shape[1:], given):
        return "the prototypes have not the proportions of the image. Correct input in the spec."
    return ""


def rotated(given: Given) -> str:
    """RotatedNms."""
    if reason := candidates(given):
        return reason
    features = _features(given)
    if features.shape[1] != 1:
        return f"there are {features.shape[1]} features a box, not one angle. Write features: 1 into its head."
    # Of most boxes: YOLO26 gives it as it comes, and where nothing is, nobody taught it an angle.
    known = np.abs(features[np.isfinite(features)])
    if known.size and np.median(known) > _MOST:
        return "the feature is no angle in radians. Correct input, postprocess and classes in the spec."
    return ""


def _features(given: Given) -> Array:
    """The features of the head; none where it has no such field."""
    features = given.value.features
    return np.zeros((len(given.value.places), 0), np.float32) if features is None else np.asarray(features)
