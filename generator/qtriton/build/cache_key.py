"""Hash everything that a build depends on, so that the same build is recognised without running it."""

from pathlib import Path
from typing import Final

from qtriton import resources
from qtriton.build.images import Datasets
from qtriton.datasets import list_images
from qtriton.packages import version_of
from qtriton.plan import Request
from qtriton.recipe import Recipe
from qtriton.spec import ModelSpec
from qtriton.target import Precision, Target
from qtriton.workspace import sha256_file, sha256_json

#: The packages whose versions change what a build produces.
PACKAGES: Final = (
    *("qtriton", "paddlepaddle", "paddleslim", "paddle2onnx", "x2paddle", "onnx", "onnxsim", "onnxruntime"),
    "openvino",
    *("numpy", "opencv-python", "pycocotools"),
)


def versions() -> dict[str, str]:
    """The installed versions of PACKAGES."""
    found = {name: version_of(name) for name in PACKAGES}
    return {name: known for name, known in found.items() if known is not None}


def weights_sha256(weights: Path) -> str:
    """The hash of an ONNX file, or of the two files of a Paddle inference folder together."""
    if weights.is_file():
        return sha256_file(weights)
    return sha256_json([sha256_file(path) for path in sorted(weights.glob("inference.pd*"))])


def spec_key(spec: ModelSpec, weights: Path) -> str:
    """What all variants of a model share: the spec, the weights, and the code that is shipped with them."""
    shipped = {path.name: sha256_file(path) for path in sorted(resources.runtime().glob("*.py"))}
    return sha256_json([spec.model_dump(mode="json"), weights_sha256(weights), shipped])


def learnt_from(recipe: Recipe, spec: ModelSpec, model: Path, calibration: Path) -> list[object]:
    """What the learnt scales depend on: the model, how an image becomes its input, and how they are learnt."""
    before = spec.model_dump(mode="json", include={"input", "preprocess", "max_pixels"})
    shipped = [sha256_file(resources.runtime() / name) for name in ("image.py", "pre.py")]
    return [weights_sha256(model), before, shipped, images_sha256(calibration), recipe.learnt_by, code("compress")]


def build_key(target: Target, request: Request, spec_hash: str, folders: Datasets) -> str:
    """What one published variant depends on; FP32 does not depend on how INT8 is made."""
    how: list[object] = []
    if target.precision is not Precision.FP32 and folders.calibration is not None:
        how = [request.method.value, request.algorithm, repr(request.training), request.max_drop, request.accept_drop]
        how += [target.vnni, code("compress"), code("quantize")]
    common = [code(name) for name in ("backends", "metrics", "build", "repository", "operate")]
    templates = [sha256_file(path) for path in sorted(resources.templates().glob("*.j2"))]
    what = [target.backend, target.precision, target.threads, target.optimization_level, target.device]
    return sha256_json([spec_hash, what, how, parents(folders, target), versions(), common, templates])


def parents(folders: Datasets, target: Target) -> dict[str, str]:
    """The SHA-256 of the folders and files that an artifact was made from and measured on, the weights apart."""
    found = {"validation": folders.validation, "labels": folders.labels}
    if target.precision is not Precision.FP32:
        found["calibration"] = folders.calibration
    return {
        name: sha256_file(path) if path.is_file() else images_sha256(path)
        for name, path in sorted(found.items())
        if path is not None
    }


def images_sha256(folder: Path) -> str:
    """The hash of the names and contents of a folder's images."""
    return sha256_json([(path.name, sha256_file(path)) for path in list_images(folder, "folder")])


def code(package: str) -> list[str]:
    """The hashes of a sub-package: while qtriton is developed its version stays and its code changes."""
    folder = Path(__file__).parent.parent / package
    return [sha256_file(path) for path in sorted(folder.rglob("*.py"))]
