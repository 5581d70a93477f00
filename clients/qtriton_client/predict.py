"""Sends one image to an ensemble and describes the results."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt

from qtriton_client import draw
from qtriton_client.catalog import Pipeline
from qtriton_client.errors import EXIT_INPUT, ClientError
from qtriton_client.masks import outline, paste
from qtriton_client.release import release_of
from qtriton_client.session import Session, Tensor

#: The tensors of an ensemble by name, for one image, without the batch.
Results: TypeAlias = Mapping[str, npt.NDArray[Any]]


@dataclass(frozen=True)
class Answer:
    """What an ensemble answers to one image, and which release it is of."""

    results: Results
    #: The first 15 digits of the release's name; None where the server serves no release, or does not tell.
    release: str | None


def predict(session: Session, pipeline: Pipeline, image: bytes) -> Results:
    """The results of an ensemble for one encoded image.

    Raises:
        RequestRefused: the server cannot read the image.
        ClientError: the server no longer answers.
    """
    return ask(session, pipeline, image).results


def ask(session: Session, pipeline: Pipeline, image: bytes) -> Answer:
    """The same, with the release that answered.

    Raises:
        RequestRefused: the server cannot read the image.
        ClientError: the server no longer answers.
    """
    tensor = Tensor(pipeline.image, "BYTES", np.array([image], object).reshape(pipeline.image_shape))
    answer = session.infer(pipeline.variant.ensemble, session.prepare([tensor]))
    batched = len(pipeline.image_shape) > 1
    results = {name: each.data[0] if batched else each.data for name, each in session.tensors(answer).items()}
    return Answer(results, release_of(session.version(answer)))


def describe(results: Results, names: Sequence[str] = ()) -> list[dict[str, Any]]:
    """Results for programs, best first.

    A class or label is {class, name, score}, and a class of a mask {class, name, share of the pixels}. A detection is
    {class, name, score, box: [x1, y1, x2, y2]}; with `keypoints` [[x, y, score], ...] or `outline` [[[x, y], ...], ...]
    where its task has them; a rotated one has `corners` [[x, y], ...] instead of the box. All are pixels of the image.
    """
    if "mask" in results:
        ids, counts = np.unique(results["mask"], return_counts=True)
        order = np.argsort(-counts, kind="stable")
        shares = (counts / results["mask"].size)[order].tolist()
        return [{**_class(int(i), names), "share": share} for i, share in zip(ids[order], shares, strict=True)]
    counted = next((name for name in _COUNTS if name in results), None)
    count = int(results[counted][0]) if counted else len(results["scores"])
    return [
        {
            **_class(int(number), names),
            "score": float(score),
            **{field: tell(results, place) for tensor, (field, tell) in _PARTS.items() if tensor in results},
        }
        for place, (number, score) in enumerate(zip(results["classes"][:count], results["scores"][:count], strict=True))
    ]


def annotate(image: bytes, results: Results, names: Sequence[str] = ()) -> bytes:
    """The image as PNG with the results drawn into it: coloured classes, objects, or the best class or labels as text.

    Raises:
        ClientError: the image cannot be decoded here.
    """
    cv2 = draw.opencv()
    pixels = cv2.imdecode(np.frombuffer(image, np.uint8), cv2.IMREAD_COLOR)  # as the preprocess step decodes it
    if pixels is None:
        raise ClientError("the image cannot be decoded, so nothing can be drawn into it.", EXIT_INPUT)
    if "mask" in results:
        pixels = draw.overlay(pixels, results["mask"])
    elif "num_detections" in results:
        found = _Found.of(results, names)
        for tensor, paint in _PAINTERS.items():
            if tensor in results:
                pixels = paint(pixels, found)
    elif objects := describe(results, names):
        told = objects if "num_labels" in results else objects[:1]
        best = ", ".join(f"{each['name']} {each['score']:.2f}" for each in told)
        pixels = draw.boxes(pixels, np.array([[0, 0, *pixels.shape[1::-1]]], np.float32), [best], [objects[0]["class"]])
    return bytes(cv2.imencode(".png", pixels)[1])


@dataclass(frozen=True)
class _Found:
    """The detections of an image without the padding behind them."""

    results: Results
    labels: Sequence[str]
    classes: Sequence[int]

    @classmethod
    def of(cls, results: Results, names: Sequence[str]) -> "_Found":
        count = int(results["num_detections"][0])
        classes, scores = results["classes"][:count].tolist(), results["scores"][:count].tolist()
        labels = [f"{_class(number, names)['name']} {score:.2f}" for number, score in zip(classes, scores, strict=True)]
        return cls({name: array[:count] for name, array in results.items()}, labels, classes)


def _paint_masks(pixels: draw.Image, found: _Found) -> draw.Image:
    pairs = zip(found.results["masks"], found.results["boxes"], strict=True)
    return draw.objects(pixels, [paste(mask, box, *pixels.shape[:2]) for mask, box in pairs], found.classes)


def _listed(tensor: str) -> Callable[[Results, int], Any]:
    return lambda results, place: results[tensor][place].tolist()


#: The tensors that say how many results are no padding.
_COUNTS: Final = ("num_detections", "num_labels")

#: What a detection has, by the tensor it comes from: the field of `describe`, and what stands in it.
_PARTS: Final[dict[str, tuple[str, Callable[[Results, int], Any]]]] = {
    "boxes": ("box", _listed("boxes")),
    "corners": ("corners", _listed("corners")),
    "keypoints": ("keypoints", _listed("keypoints")),
    "masks": ("outline", lambda results, place: outline(results["masks"][place], results["boxes"][place])),
}

#: What is drawn of detections, by the tensor it comes from, in this order.
_PAINTERS: Final[dict[str, Callable[[draw.Image, _Found], draw.Image]]] = {
    "masks": _paint_masks,
    "boxes": lambda pixels, found: draw.boxes(pixels, found.results["boxes"], found.labels, found.classes),
    "corners": lambda pixels, found: draw.polygons(pixels, found.results["corners"], found.labels, found.classes),
    "keypoints": lambda pixels, found: draw.keypoints(pixels, found.results["keypoints"], found.classes),
}


def _class(number: int, names: Sequence[str]) -> dict[str, Any]:
    return {"class": number, "name": names[number] if number < len(names) else str(number)}
