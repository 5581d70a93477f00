"""Write the spec of a model's file, and try a spec on one photo, before anything is compressed."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qtriton.atomic import write_atomically
from qtriton.backends.runner import running
from qtriton.builder.artifact import on_all_cores
from qtriton.builder.feeding import feed, ordered_outputs, read_frame
from qtriton.builder.fetch import given_weights
from qtriton.builder.fp32 import write_fp32_onnx
from qtriton.builder.trial import checked_answer
from qtriton.errors import InputError
from qtriton.recognize.find import find_model
from qtriton.recognize.write import as_yaml
from qtriton.runtime.post import postprocess
from qtriton.spec import ModelSpec
from qtriton.spec_files import classes, is_spec_path
from qtriton.target import Precision, Target
from qtriton.workspace import Workspace
from qtriton_client.predict import annotate, describe


@dataclass(frozen=True)
class InitResult:
    """A spec, where it was written, and why it is as it is."""

    spec: ModelSpec
    weights: Path | None
    #: The YAML file; none where the spec was given.
    path: Path | None
    #: The base that the file was read by; "" where the spec was given.
    base: str = ""
    notes: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """The result for programs."""
        return {
            "model": self.spec.name,
            "spec": None if self.path is None else str(self.path),
            "base": self.base,
            "notes": list(self.notes),
        }


@dataclass(frozen=True)
class PhotoTrial:
    """What a model found in one photo: dictionaries as `qtriton predict --json` prints them, and the picture."""

    objects: tuple[dict[str, Any], ...]
    picture: Path

    def as_json(self) -> dict[str, Any]:
        """The result for programs."""
        return {"found": list(self.objects), "picture": str(self.picture)}


def init_spec(
    model: str, output: Path | None = None, base: str | None = None, weights: Path | None = None, *, force: bool = False
) -> InitResult:
    """Write the spec of a model's file as YAML; a spec that is given is read and nothing is written.

    Raises:
        InputError: there is no such file, it can be read in several ways, or the YAML file is there already.
        ModelError: the file is no model that is known.
    """
    found = find_model(model, weights, base)
    if found.recognized is None:
        if not is_spec_path(model):
            raise InputError(f"{model}: a model of the zoo has its spec already: `qtriton zoo show {model}` prints it.")
        if output is not None:
            raise InputError(f"--output {output}: {model} is a spec already. Leave the option out.")
        return InitResult(found.spec, weights, None)
    path = output or Path(f"{found.spec.name}.yaml")
    if path.exists() and not force:
        raise InputError(f"{path}: is there already. Name another with --output, or pass --force to write over it.")
    text = as_yaml(found.spec, found.recognized.reasons)
    try:
        write_atomically(path, text.encode())
    except OSError as error:
        raise InputError(f"--output {path}: cannot be written ({error.strerror}). Name another file.") from error
    return InitResult(found.spec, found.weights, path, found.recognized.base, found.recognized.lines)


def try_spec(init: InitResult, photo: Path) -> PhotoTrial:
    """Run the FP32 model in ONNX Runtime on one photo, through the deployed operations, and draw what it finds.

    The picture lies beside the YAML file, or here, and is called after the model and the photo.

    Raises:
        InputError: there is no such photo, it cannot be decoded, or there are no weights.
        ModelError: an operation does not take what it is given: the reading is wrong.
        ArtifactLoadError: ONNX Runtime cannot run the model.
    """
    if init.weights is None:
        raise InputError(f"--try: {init.spec.name} needs its weights. Pass --weights FILE.")
    if not photo.is_file():
        raise InputError(f"--try {photo}: no such file. Give a JPEG or PNG file.")
    folder = init.path.parent if init.path else Path()
    picture = folder / f"{init.spec.name}-{photo.stem}.png"
    if picture.resolve() == photo.resolve():
        raise InputError(f"--try {photo}: would be overwritten by the drawing. Rename the photo.")
    results = _results(init.spec, init.weights, photo)
    names = classes(init.spec)
    write_atomically(picture, annotate(photo.read_bytes(), results, names))
    return PhotoTrial(tuple(describe(results, names)), picture)


def _results(spec: ModelSpec, weights: Path, photo: Path) -> dict[str, Any]:
    frame = read_frame(photo, spec)
    with tempfile.TemporaryDirectory(prefix="qtriton-") as scratch:
        onnx = Path(scratch) / "model.onnx"
        write_fp32_onnx(given_weights(spec, weights, Workspace.default()), spec, onnx)
        with running(on_all_cores(Target("onnxruntime", Precision.FP32)), onnx) as run:
            outputs = ordered_outputs(run, feed(run, frame, spec))
    arrays, _ = checked_answer(spec, outputs, frame.geometry)
    return postprocess(arrays, frame.geometry, spec.postprocess)
