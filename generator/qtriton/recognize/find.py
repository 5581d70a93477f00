"""What stands in place of MODEL: a name of the zoo, a spec, or the file of a model, whose spec is then inferred."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from qtriton.builder.fetch import ARCHIVES, weights_of
from qtriton.compress.act import export_fp32
from qtriton.errors import InputError
from qtriton.recognize import Recognized, completed, recognize
from qtriton.spec import ModelSpec
from qtriton.spec_files import is_spec_path, load_spec, make_spec, name_of, read_spec_file, zoo_names
from qtriton.workspace import Workspace

#: Files of models that are no ONNX, by what makes an ONNX of them.
_EXPORTS: Final = {
    (".pt", ".pth", ".torchscript"): (
        "holds a PyTorch model. Export it to ONNX: Ultralytics' with `yolo export model={name} format=onnx`, others "
        "with torch.onnx.export"
    ),
    (".safetensors", ".ckpt", ".bin"): "holds weights alone. Load them in their own project and export it to ONNX",
    (".h5", ".keras", ".pb", ".tflite"): "is TensorFlow's. Convert it with `python -m tf2onnx.convert`",
    (".engine", ".plan", ".trt"): "is a TensorRT engine, which is bound to its GPU. Give the ONNX file that it is from",
    (".mlmodel", ".mlpackage"): "is Core ML's. Export the original model to ONNX",
    (".xml",): "is OpenVINO's. Give the ONNX file that it is from",
}


@dataclass(frozen=True)
class Found:
    """A spec, the weights where MODEL is a file of them, and how the spec was inferred where it was."""

    spec: ModelSpec
    weights: Path | None = None
    recognized: Recognized | None = None


def find_model(model: str, weights: Path | None = None, base: str | None = None) -> Found:
    """The spec of what stands in place of MODEL.

    Args:
        model: a name of the zoo, the path of a spec, of an ONNX file, or of a Paddle inference model.
        weights: what --weights says; a spec without `input` takes what it leaves out from this ONNX file.
        base: what --base says, for files.

    Raises:
        InputError: there is no such model or file, it is of another kind, or an option does not go with it.
        ModelError: it is none.
    """
    path = Path(model)
    if is_spec_path(model) or model in zoo_names() or not _is_file_of_a_model(path):
        if base is not None:
            raise InputError(
                f"--base {base}: it says how to read an ONNX file in place of MODEL; {model} is a spec. "
                "Write `base:` into the spec, or leave the option out."
            )
        return Found(_spec(model, weights))
    _check_kind(path)
    if weights is not None:
        raise InputError(f"--weights {weights}: {model} holds the weights already. Leave the option out.")
    recognized = recognize(path, base) if path.suffix == ".onnx" else _recognize_paddle(path, base)
    return Found(recognized.spec, path, recognized)


def _spec(model: str, weights: Path | None) -> ModelSpec:
    if not is_spec_path(model) or weights is None or weights.suffix != ".onnx" or not weights.is_file():
        return load_spec(model)
    fields = read_spec_file(Path(model))
    given = fields.get("input")
    whole = isinstance(given, dict) and {"name", "dims"} <= set(given)
    return make_spec(fields if whole else completed(fields, weights), model)


def _is_file_of_a_model(path: Path) -> bool:
    """Whether what is no name of the zoo is a path: it is there, leads through folders, or ends as weights do."""
    suffixes = (".onnx", ".pdmodel", ".pdiparams", *ARCHIVES, *(suffix for group in _EXPORTS for suffix in group))
    return path.name.endswith(suffixes) or len(path.parts) > 1 or path.exists()


def _check_kind(path: Path) -> None:
    for suffixes, what in _EXPORTS.items():
        if path.name.endswith(suffixes):
            raise InputError(f"{path}: {what.format(name=path.name)}, and give that file.")
    if not path.exists():
        raise InputError(
            f"{path}: no such file. Give an ONNX file, a spec (YAML), or a name that `qtriton models` lists."
        )
    if path.suffix == ".onnx" and path.is_dir():
        raise InputError(f"{path}: a folder. Give the ONNX file in it.")
    if path.is_dir() and (inner := sorted(each.name for each in path.glob("*.onnx"))):
        raise InputError(f"{path}: a folder. Give the ONNX file in it: {', '.join(inner)}.")
    if path.is_file() and not path.name.endswith((".onnx", ".pdmodel", ".pdiparams", *ARCHIVES)):
        raise InputError(f"{path}: neither an ONNX file (.onnx) nor a spec (.yaml). Give one of them.")


def _recognize_paddle(path: Path, base: str | None) -> Recognized:
    """The spec of a Paddle inference model, by the ONNX that paddle2onnx makes of it."""
    # Every such model is called inference.pdmodel: its folder tells which it is.
    called = path.absolute().parent if path.suffix in (".pdmodel", ".pdiparams") else path.absolute()
    folder = weights_of(name_of(called), path, str(path), Workspace.default())
    with tempfile.TemporaryDirectory(prefix="qtriton-") as scratch:
        onnx = Path(scratch) / "model.onnx"
        export_fp32(folder, onnx)
        return recognize(onnx, base, called)
