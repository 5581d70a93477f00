"""Sends one image to an ensemble and describes the results."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from qtriton_client import draw
from qtriton_client.catalog import Pipeline
from qtriton_client.errors import EXIT_INPUT, ClientError
from qtriton_client.session import Session, Tensor

#: The tensors of an ensemble by name, for one image, without the batch.
Results: TypeAlias = Mapping[str, npt.NDArray[Any]]


def predict(session: Session, pipeline: Pipeline, image: bytes) -> Results:
    """What an ensemble answers to one encoded image.

    Raises:
        RequestRefused: the server cannot read the image.
        ClientError: the server no longer answers.
    """
    tensor = Tensor(pipeline.image, "BYTES", np.array([image], object).reshape(pipeline.image_shape))
    answer = session.infer(pipeline.variant.ensemble, session.prepare([tensor]))
    batched = len(pipeline.image_shape) > 1
    return {name: each.data[0] if batched else each.data for name, each in session.tensors(answer).items()}


def describe(results: Results, names: Sequence[str] = ()) -> list[dict[str, Any]]:
    """Results for programs, best first.

    A detection is {class, name, score, box: [x1, y1, x2, y2]}, a class {class, name, score}, and a class of a mask
    {class, name, share of the pixels}.
    """
    if "mask" in results:
        ids, counts = np.unique(results["mask"], return_counts=True)
        order = np.argsort(-counts, kind="stable")
        shares = (counts / results["mask"].size)[order].tolist()
        return [{**_class(int(i), names), "share": share} for i, share in zip(ids[order], shares, strict=True)]
    count = int(results["num_detections"][0]) if "num_detections" in results else len(results["scores"])
    objects = [
        {**_class(int(number), names), "score": float(score)}
        for number, score in zip(results["classes"][:count], results["scores"][:count], strict=True)
    ]
    if "boxes" in results:
        boxes = results["boxes"][:count].tolist()
        objects = [{**each, "box": box} for each, box in zip(objects, boxes, strict=True)]
    return objects


def annotate(image: bytes, results: Results, names: Sequence[str] = ()) -> bytes:
    """The image as PNG with the results drawn into it: coloured classes, boxes, or the best class as text.

    Raises:
        ClientError: the image cannot be decoded here.
    """
    cv2 = draw.opencv()
    pixels = cv2.imdecode(np.frombuffer(image, np.uint8), cv2.IMREAD_COLOR)  # as the preprocess step decodes it
    if pixels is None:
        raise ClientError("the image cannot be decoded, so nothing can be drawn into it.", EXIT_INPUT)
    objects = describe(results, names)
    if "mask" in results:
        pixels = draw.overlay(pixels, results["mask"])
    elif "boxes" in results:
        labels = [f"{each['name']} {each['score']:.2f}" for each in objects]
        corners = np.array([each["box"] for each in objects], np.float32).reshape(-1, 4)
        pixels = draw.boxes(pixels, corners, labels, [each["class"] for each in objects])
    elif objects:
        best = f"{objects[0]['name']} {objects[0]['score']:.2f}"
        pixels = draw.boxes(pixels, np.array([[0, 0, *pixels.shape[1::-1]]], np.float32), [best], [objects[0]["class"]])
    return bytes(cv2.imencode(".png", pixels)[1])


def _class(number: int, names: Sequence[str]) -> dict[str, Any]:
    return {"class": number, "name": names[number] if number < len(names) else str(number)}
