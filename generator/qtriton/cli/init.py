"""qtriton init: the spec of a model's file, written out to be corrected."""

import shlex
from pathlib import Path
from typing import Annotated

import typer

from qtriton import console
from qtriton.cli import options as o


def init(
    model: Annotated[
        str,
        typer.Argument(help="An ONNX file; or your own spec, to --try it.", metavar="FILE.onnx|SPEC.yaml"),
    ],
    output: Annotated[
        Path | None, typer.Option(help="The YAML file to write. Default: the model's name, here.", metavar="FILE")
    ] = None,
    base: Annotated[
        str | None,
        typer.Option(help="How to read the file, where it does not say itself: the name of a base.", metavar="NAME"),
    ] = None,
    photo: Annotated[
        Path | None,
        typer.Option(
            "--try", help="Run the FP32 model on this image, and draw what it finds into a PNG file.", metavar="IMAGE"
        ),
    ] = None,
    weights: Annotated[Path | None, typer.Option(help="The ONNX file of a spec that is tried.", metavar="FILE")] = None,
    force: Annotated[bool, typer.Option("--force", help="Write over a file that is there.")] = False,
    json: o.Json = False,
) -> None:
    """Write the spec of an ONNX file as YAML, a comment a line, ready to be corrected.

    What was taken for granted is printed, and why. With --try you see whether it is right before anything is
    compressed. Try a spec that you have corrected: `qtriton init best.yaml --weights best.onnx --try photo.jpg`.
    """
    # Loaded when called: NumPy, OpenCV, pydantic.
    from qtriton.operate.init import init_spec, try_spec

    found = init_spec(model, output, base, weights, force=force)
    for line in found.notes:
        console.say(line)
    if found.path is not None:
        console.say(f"Written: {found.path}")
    trial = None if photo is None else try_spec(found, photo)
    if json:
        console.as_json(found.as_json() | ({} if trial is None else trial.as_json()))
        return
    if trial is not None:
        for each in trial.objects:
            console.text(o.result_in_words(each))
        console.say(f"Found {len(trial.objects)}. Drawn: {trial.picture}")
    if found.path is not None:
        build = shlex.join(
            ["qtriton", "build", str(found.path), "--weights", str(found.weights), "--calibration", "DIR"]
        )
        console.say(f"Next: correct it, then {build}")
