"""The public Python API: what the commands do, as typed calls that print nothing."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

from qtriton.builder.fetch import weights_at_hand
from qtriton.builder.inputs import downloads_told
from qtriton.builder.pipeline import build as run_build
from qtriton.builder.result import BuildResult
from qtriton.operate.bench import bench_repository
from qtriton.operate.predict import Predictions, predict_repository
from qtriton.operate.serve import serve_repository
from qtriton.options import DEFAULT_REPOSITORY, BuildOptions
from qtriton.plan import Plan, make_plan
from qtriton.progress import SILENT, Reporter
from qtriton.recognize.find import find_model
from qtriton.repository.check import Problem, Severity
from qtriton.repository.check import check as find_problems
from qtriton.repository.check.engines import GpuServer
from qtriton.repository.naming import EMBEDDED
from qtriton.request import Request
from qtriton.server import Server, ServerOptions
from qtriton.tuning.options import TuneOptions
from qtriton.tuning.run import TuneResult
from qtriton.tuning.run import tune as tune_repository
from qtriton.workspace import Workspace
from qtriton_client import BenchResults, LoadOptions


def plan_build(model: str | Path, options: BuildOptions | None = None) -> Plan:
    """What `build` would do, worked out without doing any of it.

    Args:
        model: a name of the zoo, or the path of an ONNX file or of your own spec, a YAML file.
        options: as for `build`.

    Returns:
        the plan; its notes say how a file was read, and why, and what will be downloaded under which licence.

    Raises:
        InputError: the model, an option or a file is wrong or missing, or a file can be read in several ways.
        ModelError: the file is no model that is known.
        UnsupportedError: the combination does not exist in this version.
    """
    options = options or BuildOptions()
    found = find_model(str(model), options.weights, options.base)
    request = Request.here(replace(options, weights=found.weights or options.weights))
    spec, workspace = found.spec, Workspace.default()
    plan = make_plan(spec, request, weights_at_hand(spec, workspace))
    notes = found.recognized.lines if found.recognized else ()
    return replace(plan, notes=(*notes, *downloads_told(spec, request.options, workspace)))


def build(model: str | Path, options: BuildOptions | None = None, *, reporter: Reporter = SILENT) -> BuildResult:
    """Compress a model, measure it, and publish it into a Triton model repository.

    Args:
        model: a name of the zoo, or the path of an ONNX file or of your own spec, a YAML file.
        options: the precision, the data, the repository and the rest; None builds INT8 as `qtriton build` does.
        reporter: hears how far the work is, and warnings; silent by default.

    Raises:
        InputError: the model, an option or a file is wrong or missing.
        AccuracyBudgetError: INT8's accuracy drop is over the budget, or not shown to be within; nothing is published.
        QtritonError: any other reason, each with an exit code of its own.
    """
    return carry_out(plan_build(model, options), reporter=reporter)


def carry_out(plan: Plan, *, workspace: Workspace | None = None, reporter: Reporter = SILENT) -> BuildResult:
    """Do what `plan_build` has planned; `build` is both.

    Args:
        plan: what to do.
        workspace: the cache; its `timings` say where the time went, also of a build that fails. The user's by default.
        reporter: hears how far the work is; silent by default.

    Raises:
        QtritonError: as for `build`.
    """
    return run_build(plan, workspace or Workspace.default(), reporter)


def check(
    repository: Path | str = DEFAULT_REPOSITORY,
    server: GpuServer | None = None,
    *,
    release: str = EMBEDDED,
    least: Severity = Severity.ERROR,
) -> list[Problem]:
    """Look for what would keep Triton from loading a repository, without starting a server.

    Args:
        repository: the folder.
        server: the TensorRT and GPU of the server, where engines are to be held against them.
        release: the server's version, as "2.51", or that of its image, as "24.10".
        least: errors alone by default; `Severity.WARNING` gives warnings, too, and `Severity.NOTE` all.

    Returns:
        What is wrong, by model; no error where Triton would load all of it.

    Raises:
        InputError: there is no such folder, or it cannot be read; the release is none.
    """
    return find_problems(Path(repository), server, release=release, least=least)


def serve(
    repository: Path | str = DEFAULT_REPOSITORY, options: ServerOptions | None = None, *, reporter: Reporter = SILENT
) -> AbstractContextManager[Server]:
    """Serve a repository with the embedded tritonserver while a `with` block runs.

    Args:
        repository: the folder.
        options: address, ports and timeouts; None takes Triton's usual ports. Port 0 takes a free one.
        reporter: hears how many models are loaded; silent by default.

    Raises:
        InputError: there is no such folder.
        RepositoryError: it is not one that can be served.
        ServerError: a port is taken, or a model does not load; with Triton's reason.
    """
    return serve_repository(Path(repository), options, reporter)


def bench(
    repository: Path | str = DEFAULT_REPOSITORY,
    models: Sequence[str] = (),
    images: Path | str | None = None,
    options: LoadOptions | None = None,
    *,
    reporter: Reporter = SILENT,
) -> BenchResults:
    """Serve a repository and measure its models' runtime and end-to-end latency over gRPC, variants in turns.

    Args:
        repository: the folder.
        models: models or ensembles of them; none means all.
        images: a folder of images; None sends those of the build.
        options: how many requests, how many at a time; None sends 1000, one after the other.
        reporter: hears how far the work is, and warnings; silent by default.

    Raises:
        InputError: there is no such folder, model or image.
        ServerError: the server does not start, or has ended.
        BenchError: a Runtime is above its End2End.
    """
    load = options or LoadOptions()
    folder = None if images is None else Path(images)
    return bench_repository(Path(repository), models, folder, load, Workspace.default(), reporter)


def tune(
    model: str,
    repository: Path | str = DEFAULT_REPOSITORY,
    *,
    options: TuneOptions,
    reporter: Reporter = SILENT,
) -> TuneResult:
    """Find the instances, threads and batching with which an ensemble serves a load best here, and write them.

    Args:
        model: an ensemble, or a model: then the one that `qtriton explain` recommends.
        repository: the folder.
        options: the budget of the p99, the load, and how long it may take.
        reporter: hears how far the work is, and warnings; silent by default.

    Raises:
        InputError: there is no such folder, model or image.
        RepositoryError: the repository cannot be written, or was changed meanwhile.
        UnsupportedError: the ensemble runs on a GPU.
        BenchError: no allocation keeps the p99; nothing was changed.
    """
    return tune_repository(Path(repository), model, options, Workspace.default(), reporter)


def predict(
    model: str,
    images: Sequence[Path],
    repository: Path | str = DEFAULT_REPOSITORY,
    output: Path | None = None,
    *,
    reporter: Reporter = SILENT,
) -> Predictions:
    """Serve a repository and send images to one of its ensembles.

    Args:
        model: an ensemble, or a model that has only one.
        images: files of JPEG, PNG, WebP, BMP or TIFF.
        repository: the folder.
        output: where to draw what was found into PNG files; None draws nothing.
        reporter: hears how far the work is; silent by default.

    Returns:
        For each image, by its path, what was found, as `qtriton predict --json` prints it, and which release answered.

    Raises:
        InputError: there is no such folder, model or image, or the model has several ensembles.
        BenchError: the server refused an image; the message names it.
    """
    return predict_repository(Path(repository), model, images, output, reporter)
