"""What the manifests of a model say, for a person."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from qtriton.backends import title_of
from qtriton.builder.choice import MIN_SPEEDUP, fastest, gain
from qtriton.datasets import images_text
from qtriton.recipe import Learner
from qtriton.report.certainty import BOUNDS, CONFIDENCE, bounds_cell, bounds_text, sentences
from qtriton.report.section import Section
from qtriton.report.tables import speedup_cell
from qtriton.report.tuning import told
from qtriton.repository.manifest import ImagesSource, Layer, Manifest, Shares

#: How many layers are shown without --all.
_MAX_LAYERS: Final = 15


def measured_in(manifest: Manifest) -> str:
    """What the accuracy of an artifact was measured in, where that is not what serves it."""
    fallback = manifest.measured_in
    return f", measured in {fallback} in place of {title_of(manifest.backend)}" if fallback else ""


def compressed(manifest: Manifest) -> str:
    """A precision as people write it."""
    return manifest.precision.value.upper().replace("-", "+")


def downloaded(images: ImagesSource) -> str:
    """Where images come from that the user did not give."""
    return f"{images.images} of {images.url} (licence: {images.licence})"


def sections(manifests: Mapping[str, Manifest], all_layers: bool) -> Iterator[Section]:
    """The variants of one model by ensemble: a table of all, then what there is to say of each INT8."""
    default = fastest(list(manifests.values()))
    recommended = None if _untimed(manifests) else default
    headers = ("Ensemble", "Recipe", "Accuracy", "Drop", BOUNDS, "Budget", "Verdict", "ms", "Over FP32", "")
    fp32 = {each.backend: each.speed.fp32_ms for each in manifests.values() if each.speed is not None}
    rows = [_row(name, each, each is recommended, fp32.get(each.backend)) for name, each in manifests.items()]
    first = next(iter(manifests.values()))
    yield Section(f"{first.title}: what is published", headers, tuple(rows))
    yield Section(_why(default, manifests))
    yield from _placements(manifests)
    for name, manifest in manifests.items():
        if manifest.tuning is not None:
            yield Section(told(name, manifest.tuning))
        elif manifest.instances > 1:
            yield Section(f"{name}: served by {manifest.instances} instances of its runtime step.")
    if graphs := ", ".join(name for name, manifest in manifests.items() if manifest.cuda_graphs):
        yield Section(f"{graphs}: run as a CUDA graph by Triton's own TensorRT backend, one image at a time.")
    for name, manifest in manifests.items():
        if manifest.gate is not None:
            yield from _details(name, manifest, all_layers)


def _untimed(manifests: Mapping[str, Manifest]) -> bool:
    """Whether something was compressed and nothing timed: what it runs on is not on the machine that built it."""
    return all(each.speed is None for each in manifests.values()) and any(each.gate for each in manifests.values())


def _row(name: str, manifest: Manifest, is_default: bool, fp32_ms: float | None) -> tuple[str, ...]:
    metric, gate, speed = manifest.metric, manifest.gate, manifest.speed
    sure = gate.evidence if gate else None
    milliseconds = speed.compressed_ms if speed else fp32_ms
    return (
        name,
        str(manifest.settings.get("recipe", "original")),
        f"{metric.name} {metric.value:.2f}" if metric else "-",
        f"{gate.drop:.2f}" if gate else "-",
        bounds_cell(sure.lower, sure.upper) if sure else "-",
        f"{gate.budget:g}" + (" (accepted)" if gate.accepted else "") if gate else "-",
        sure.verdict.value if sure else "-",
        f"{milliseconds:.2f}" if milliseconds is not None else "-",
        speedup_cell(speed.ratio) if speed else "-",
        "serve this" if is_default else "",
    )


def _why(default: Manifest, manifests: Mapping[str, Manifest]) -> str:
    if default.speed is not None:
        return f"{default.title} in {compressed(default)} on {default.backend} is the fastest that was published."
    if _untimed(manifests):
        return (
            "Nothing was timed, as this runs on a GPU: `qtriton bench` against the server there says what is fastest."
        )
    if all(each.speed is None for each in manifests.values()):
        return "There is nothing compressed to compare with."
    ratio = gain(list(manifests.values()))
    return (
        f"FP32 stays: the fastest compressed model is {ratio:.2f} times as fast as the fastest FP32, and "
        f"below {MIN_SPEEDUP} it is not worth its accuracy drop."
    )


def _placements(manifests: Mapping[str, Manifest]) -> Iterator[Section]:
    """Where the operations run, once for the variants that have them in the same place."""
    names: dict[Shares, list[str]] = {}
    for name, manifest in manifests.items():
        if manifest.placement is not None:
            names.setdefault(manifest.placement, []).append(name)
    for shares, alike in names.items():
        graph = "; ".join(filter(None, (shares.prologue, shares.epilogue))) or "the network alone"
        steps = "; ".join(filter(None, (shares.preprocess, shares.postprocess)))
        of = f"{', '.join(alike)}. " if len(alike) < len(manifests) else ""
        yield Section(f"{of}In the graph: {graph}. In the steps: {steps}.")


def _details(name: str, manifest: Manifest, all_layers: bool) -> Iterator[Section]:
    gate, speed = manifest.gate, manifest.speed
    assert gate is not None
    judge = "labels" if gate.labelled else "FP32's results, as there are no labels"
    yield Section(
        f"{name}: measured by {gate.metric} on {images_text(gate.images)}, against {judge}{measured_in(manifest)}."
    )
    yield from map(Section, sentences(gate))
    if gate.required:
        yield Section("Only what is shown to be within the budget was to be published (--require-evidence).")
    if speed is not None:
        threads = f"{speed.threads} thread{'s' * (speed.threads > 1)}, " * bool(speed.threads)
        times = f"FP32 {speed.fp32_ms:.2f} ms, {compressed(manifest)} {speed.compressed_ms:.2f} ms"
        sure = f", {bounds_text(speed.bounds)} times as fast with {CONFIDENCE}" if speed.bounds is not None else ""
        yield Section(f"{times}{sure} ({threads}{speed.processor}; without a server).")
    for what, images in manifest.downloaded.items():
        yield Section(f"The {what} images: {downloaded(images)}, sha256 {images.sha256}.")
    if "learner" in manifest.settings:
        learner, algorithm = Learner(manifest.settings["learner"]), manifest.settings["algorithm"]
        yield Section(f"The ranges were learnt by {learner.label}, with the algorithm {algorithm}.")
    if manifest.settings.get("equalized"):
        yield Section("The channels that depthwise convolutions read were brought into one range before.")
    if len(manifest.tried) > 1:
        tried = tuple((each.recipe, f"{each.drop:.2f}") for each in manifest.tried)
        yield Section("Tried, from fast to slow", ("Recipe", "Drop (points)"), tried)
    if all(each.divergence is None for each in manifest.layers):
        yield Section("No layer was measured by itself: the budget was kept, or the method does not ask for it.")
    if manifest.layers:
        yield _layers(manifest.layers, all_layers)
    sources = {"weights": manifest.source.sha256, **manifest.parents}
    rows = tuple(sources.items())
    yield Section("Built from", ("What", "SHA-256"), rows)


def _layers(layers: Sequence[Layer], everything: bool) -> Section:
    """The layers kept in floating point first, then by what they cost."""
    total = sum(each.divergence or 0 for each in layers)
    work = sum(each.macs or 0 for each in layers)
    ranking = sorted(layers, key=lambda each: (not each.float_reason, -(each.divergence or 0)))
    float_count = sum(1 for each in layers if each.float_reason)
    shown = ranking if everything else ranking[: max(_MAX_LAYERS, float_count)]
    rows = tuple(
        (
            each.node,
            f"{each.op} {'x'.join(map(str, each.weights))}".strip() or "-",
            f"{100 * each.macs / work:.1f} %" if each.macs and work else "-",
            f"{100 * each.divergence / total:.1f} %" if each.divergence is not None and total else "-",
            f"floating point: {each.float_reason}" if each.float_reason else "INT8",
        )
        for each in shown
    )
    hidden = len(layers) - len(shown)
    more = f"; {hidden} more with --all" if hidden else ""
    title = f"Layers ({float_count} kept in floating point{more})"
    return Section(title, ("Layer", "Weights", "Of the work", "Of the divergence, alone in INT8", "Runs in"), rows)
