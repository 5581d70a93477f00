"""The hashes of what a build is made from: weights, folders of images, labels."""

from pathlib import Path
from typing import Final

from qtriton.builder.inputs import Datasets
from qtriton.builder.onnx_files import data_files
from qtriton.datasets import list_images
from qtriton.workspace import sha256_file, sha256_json

#: What a folder of labels may hold.
_LABELS: Final = frozenset({".png", ".txt"})


def weights_sha256(weights: Path) -> str:
    """The hash of an ONNX file with the data files beside it, or of the two files of a Paddle inference folder."""
    if weights.is_file():
        beside = data_files(weights)
        named = [(str(path.relative_to(weights.parent)), sha256_file(path)) for path in beside]
        return sha256_json([sha256_file(weights), named]) if beside else sha256_file(weights)
    return sha256_json([sha256_file(path) for path in sorted(weights.glob("inference.pd*"))])


def images_sha256(folder: Path) -> str:
    """The hash of the names and contents of a folder's images."""
    images = list_images(folder, "folder")
    return sha256_json([(path.relative_to(folder).as_posix(), sha256_file(path)) for path in images])


def labels_sha256(labels: Path) -> str:
    """The hash of a file of labels, or of the names and contents of the masks and text files in a folder of them."""
    if labels.is_file():
        return sha256_file(labels)
    files = sorted(path for path in labels.rglob("*") if path.suffix.lower() in _LABELS and path.is_file())
    return sha256_json([(path.relative_to(labels).as_posix(), sha256_file(path)) for path in files])


def datasets_sha256(datasets: Datasets) -> dict[str, str]:
    """The SHA-256 of the folders and files that a build calibrates with and measures on, of those that there are."""
    hashes = {}
    if datasets.calibration is not None:
        hashes["calibration"] = images_sha256(datasets.calibration)
    if datasets.labels is not None:
        hashes["labels"] = labels_sha256(datasets.labels)
    if datasets.validation is not None:
        hashes["validation"] = images_sha256(datasets.validation)
    return hashes
