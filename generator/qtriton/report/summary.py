"""What a build ended with, in a few lines for a person."""

import shlex
import textwrap

from qtriton.backends import cpu_fallback
from qtriton.builder.choice import MIN_SPEEDUP
from qtriton.builder.result import BuildResult
from qtriton.datasets import images_text
from qtriton.evidence import Verdict
from qtriton.options import DEFAULT_REPOSITORY
from qtriton.report.certainty import bounds_text, drop_text, few_images
from qtriton.report.explain import downloaded, measured_in
from qtriton.report.tuning import told
from qtriton.repository.manifest import Manifest
from qtriton.target import Precision


def summarize_build(result: BuildResult) -> str:
    """What stands in the repository now, and what to do next."""
    repository, spec = result.repository.path, result.plan.spec
    first = f"{repository}: {spec.name} is published."
    if not result.changed:
        first = f"{repository}: {spec.name} is up to date, nothing was done. --force publishes it again."
    lines = [first]
    lines += [_wrapped(f"{result.names(target).ensemble}: {describe(each)}") for target, each in result.variants]
    # Of what was published now, nothing is tuned.
    lines += [
        _wrapped(f"Still: {told(result.names(target).ensemble, each.tuning)}")
        for target, each in result.variants
        if each.tuning is not None
    ]
    lines += [f"  {each.target.backend} {each.target.precision.value}: -" for each in result.left_out]
    gates = [manifest.gate for _, manifest in result.variants if manifest.gate is not None]
    lines += dict.fromkeys(filter(None, map(few_images, gates)))
    lines += _downloaded(result)
    if all(manifest.metric is None for _, manifest in result.variants):
        lines.append("Pass --validation and --labels to measure the accuracy.")
    if result.plan.request.options.precision is not Precision.FP32:
        lines.append(_verdict(result))
    if result.pending():
        lines += _next_on_the_gpu(result)
    else:
        where = ", on a machine with a GPU" * any(cpu_fallback(target) is not None for target, _ in result.variants)
        folder = shlex.quote(str(repository))
        lines.append(f"Next: qtriton bench {folder} --model {spec.name}, or qtriton serve {folder}{where}")
    return "\n".join(lines)


def _wrapped(line: str) -> str:
    """A variant's line, for a terminal of 100."""
    wrapper = textwrap.TextWrapper(
        100, initial_indent="  ", subsequent_indent="    ", break_long_words=False, break_on_hyphens=False
    )
    return wrapper.fill(line)


def _downloaded(result: BuildResult) -> list[str]:
    """Which images the user did not give."""
    sources = next(
        (manifest.downloaded for _, manifest in result.variants if manifest.downloaded.get("calibration")), {}
    )
    done = {"calibration": "Calibrated with", "validation": "Compared with FP32 on"}
    return [f"{done[name]} {downloaded(images)}." for name, images in sources.items()]


def _next_on_the_gpu(result: BuildResult) -> list[str]:
    """How what has pending engines is served and measured; images that were measured on are at hand."""
    repository, name = shlex.quote(str(result.repository.path)), result.plan.spec.name
    images = shlex.quote(next((each.images for _, each in result.variants if each.images), "DIR"))
    return [
        f"Next: qtriton engines build {repository}, on the GPU that serves it",
        f"  or: qtriton serve {repository} --docker --dry-run, whose command builds it and serves it",
        f"Then: qtriton-client --url localhost:8001 --model {name} --images {images}",
    ]


def _verdict(result: BuildResult) -> str:
    explain = ["qtriton", "explain", result.plan.spec.name]
    if result.repository.path != DEFAULT_REPOSITORY:
        explain += ["--repository", str(result.repository.path)]
    why = f"`{shlex.join(explain)}` says why."
    name = result.names(result.default).ensemble
    if waiting := result.pending():
        return f"Engine pending: {', '.join(waiting)}. An engine is built on the GPU that runs it. {why}"
    if result.default.precision is Precision.FP32:
        return f"FP32 stays: serve {name}. Nothing compressed is at least {MIN_SPEEDUP} times faster here. {why}"
    chosen = next(manifest for target, manifest in result.variants if target == result.default)
    if chosen.speed is None:
        return f"Nothing was timed, as this runs on a GPU: `qtriton bench` there says what is fastest. {why}"
    if chosen.gate is not None and chosen.gate.accepted:
        return f"Serve {name}, the fastest; it is over the accuracy budget, which you accepted. {why}"
    sure = chosen.gate.evidence if chosen.gate is not None else None
    if chosen.gate is not None and sure is not None and sure.verdict is Verdict.CANNOT_TELL:
        unsure = f"as measured; {images_text(chosen.gate.images)} cannot tell for sure"
        return f"Serve {name}, the fastest within the accuracy budget {unsure}. {why}"
    return f"Serve {name}, the fastest within the accuracy budget. {why}"


def describe(manifest: Manifest) -> str:
    """Accuracy, drop and speed of a variant in a line."""
    parts = ["accuracy not measured"]
    if manifest.metric is not None:
        parts = [f"{manifest.metric.name} {manifest.metric.value:.2f} on {images_text(manifest.metric.images)}"]
    if (gate := manifest.gate) is not None:
        if not gate.labelled:
            parts = [f"{100 - gate.drop:.2f} points of {gate.metric} on {images_text(gate.images)} without labels"]
        parts.append(drop_text(gate))
    if manifest.metric or manifest.gate:
        parts[-1] += measured_in(manifest)
    if manifest.speed is not None:
        sure = f" ({bounds_text(manifest.speed.bounds)})" if manifest.speed.bounds is not None else ""
        parts.append(f"{manifest.speed.ratio:.2f} times FP32's speed{sure}")
    return ", ".join([*parts, *filter(None, [manifest.settings.get("recipe")])])
