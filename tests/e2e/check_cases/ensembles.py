"""Ensembles: how steps are joined, and what of them the server compares."""

from collections.abc import Mapping
from typing import Final

from e2e.check_cases.case import Case, X, Y, config, model, tensor

_FOOT: Final = {"@/1/keep": ""}


def step(name: str, inputs: Mapping[str, str], outputs: Mapping[str, str], extra: str = "") -> str:
    """One step of an ensemble."""
    maps = [f'{kind}_map {{ key: "{k}" value: "{v}" }}' for kind, each in (("input", inputs), ("output", outputs)) for k, v in each.items()]  # fmt: skip
    return f'step {{ model_name: "{name}" model_version: -1 {" ".join(maps)} {extra} }}'


FIRST: Final = step("@_a", {"x": "x"}, {"y": "t"})
SECOND: Final = step("@_b", {"x": "t"}, {"y": "y"})


def ensemble(
    name: str,
    refused: str = "",
    also: tuple[str, ...] = (),
    steps: str = FIRST + SECOND,
    extra: str = "",
    batch: int = 4,
    inputs: str = X,
    outputs: str = Y,
    first: str = config(),
    second: str = config(),
    version: Mapping[str, str | bytes | None] = _FOOT,
) -> Case:
    """An ensemble of two python models, x -> @_a -> t -> @_b -> y."""
    text = config(f"ensemble_scheduling {{ {steps} }} {extra}", batch, inputs, outputs, 'platform: "ensemble"')
    files = {"@/config.pbtxt": text, **version, **model(first, "_a"), **model(second, "_b")}
    return Case(name, files, refused, also)


_DECOUPLED: Final = "model_transaction_policy { decoupled: true }"
_TWO_IN: Final = X + tensor("input", "z")
#: x goes to both steps, whose outputs meet in a third.
_MEET: Final = (
    step("@_a", {"x": "x"}, {"y": "t"}) + step("@_c", {"x": "x"}, {"y": "u"}) + step("@_b", {"x": "t", "z": "u"}, {"y": "y"})
)  # fmt: skip


def meeting(name: str, refused: str, third: str, first: str = config(), second: str = "") -> Case:
    """Two steps whose outputs meet in a third."""
    case = ensemble(name, refused, steps=_MEET, first=first, second=second or config(inputs=_TWO_IN))
    return Case(name, {**case.files, **model(third, "_c")}, refused)


def _consumers(name: str, other: str, refused: str) -> Case:
    """A tensor that is free where it is made, and two steps in front of it that take it."""
    steps = step("@_b", {"x": "t"}, {"y": "y"}) + step("@_c", {"x": "t"}, {"y": "z"}) + FIRST
    case = ensemble(
        name, steps=steps, outputs=Y + tensor("output", "z"), first=config(outputs=tensor("output", "y", "[ -1 ]"))
    )
    return Case(name, {**case.files, **model(config(inputs=tensor("input", "x", other)), "_c")}, refused)


def joined(
    name: str, given: str, taken: str, refused: str = "", also: tuple[str, ...] = (), first: int = 4, second: int = 4
) -> Case:
    """The tensor between the steps as the first gives and as the second takes it, each with its max_batch_size."""
    producer = config(outputs=tensor("output", "y", given), batch=first)
    consumer = config(inputs=tensor("input", "x", taken), batch=second)
    return ensemble(name, refused, also, first=producer, second=consumer)


ENSEMBLES: Final = (
    ensemble("ensemble"),
    ensemble("empty-version", also=("version-empty",), version={"@/1": None}),
    ensemble("no-version", "no-version", version={}),
    ensemble("with-instances", "not-for-ensembles", extra="instance_group { count: 1 }"),
    ensemble("with-optimization", "not-for-ensembles", extra="optimization { priority: PRIORITY_MAX }"),
    ensemble("with-warmup", "not-for-ensembles", extra='model_warmup { name: "w" }'),
    ensemble("with-cache", extra="response_cache { enable: true }"),
    ensemble("with-backend", "ensemble-backend", extra='backend: "python"'),
    ensemble("no-steps", "step-missing", steps=""),
    ensemble("no-step-model", "step-incomplete", steps=FIRST + SECOND.replace('model_name: "@_b"', "")),
    ensemble("no-input-map", "step-incomplete", steps=step("@_a", {}, {"y": "t"}) + SECOND),
    ensemble("no-output-map", "step-incomplete", steps=FIRST + step("@_b", {"x": "t"}, {})),
    ensemble("step-unknown", "step-unknown", steps=FIRST + SECOND.replace("@_b", "@_no")),
    ensemble("input-map-key", "map-key-unknown", steps=step("@_a", {"q": "x"}, {"y": "t"}) + SECOND),
    ensemble("output-map-key", "map-key-unknown", steps=step("@_a", {"x": "x"}, {"q": "t"}) + SECOND),
    ensemble("unmapped-input", "input-unmapped", first=config(inputs=_TWO_IN)),
    ensemble("unmapped-optional", first=config(inputs=X + tensor("input", "z", extra="optional: true"))),
    ensemble("unmapped-output", first=config(outputs=Y + tensor("output", "o"))),
    ensemble("step-version", steps=FIRST + SECOND.replace("model_version: -1", "model_version: 1")),
    ensemble("step-version-missing", "step-version", steps=FIRST + SECOND.replace("model_version: -1", "model_version: 3")),
    ensemble("step-version-unset", "step-version", steps=FIRST + SECOND.replace("model_version: -1", "")),
    ensemble("step-batch-small", "step-batch", second=config(batch=2)),
    ensemble("step-batch-large", second=config(batch=16)),
    ensemble("tensor-twice", "tensor-produced-twice", steps=FIRST + step("@_b", {"x": "t"}, {"y": "t"})),
    ensemble("input-unused", "ensemble-input-unused", inputs=X + tensor("input", "w")),
    ensemble("tensor-unused", "tensor-unused", steps=step("@_a", {"x": "x"}, {"y": "y"}) + step("@_b", {"x": "x"}, {"y": "t"})),
    ensemble("output-missing", "tensor-unconnected", outputs=Y + tensor("output", "q")),
    ensemble("tensor-missing", "tensor-unconnected", steps=step("@_a", {"x": "q"}, {"y": "t"}) + SECOND),
    ensemble("step-waits-for-itself", "steps-wait", steps=FIRST + step("@_b", {"x": "t", "z": "u"}, {"y": "y", "o": "u"}), second=config(inputs=_TWO_IN, outputs=Y + tensor("output", "o"))),
    ensemble("step-waits-for-none", steps=FIRST + step("@_b", {"x": "t", "z": "x"}, {"y": "y"}), second=config(inputs=_TWO_IN, outputs=Y + tensor("output", "o"))),
    ensemble("steps-wait", "steps-wait", steps=step("@_a", {"x": "x", "z": "u"}, {"y": "t"}) + step("@_b", {"x": "t"}, {"y": "y", "o": "u"}), first=config(inputs=_TWO_IN), second=config(outputs=Y + tensor("output", "o"))),
    ensemble("contains-itself", "ensemble-contains-itself", steps=FIRST + step("@", {"x": "t"}, {"y": "y"})),
    ensemble("type-differs", "tensor-types-differ", second=config(inputs=tensor("input", "x", dtype="TYPE_INT32"))),
    ensemble("input-type-differs", "tensor-types-differ", inputs=tensor("input", "x", dtype="TYPE_INT32")),
    joined("shape-differs", "[ 3 ]", "[ 4 ]", "tensor-shapes-differ"),
    joined("shape-free", "[ -1 ]", "[ 4 ]"),
    joined("rank-differs", "[ 3 ]", "[ 3, 1 ]", "tensor-shapes-differ"),
    ensemble("output-shape-differs", "tensor-shapes-differ", outputs=tensor("output", "y", "[ 5 ]")),
    # batching and not
    joined("equal-dims-unbatched-second", "[ 3 ]", "[ 3 ]", also=("batch-one-only",), second=0),
    joined("equal-dims-unbatched-first", "[ 3 ]", "[ 3 ]", also=("batch-one-only",), first=0),
    joined("full-dims-unbatched-second", "[ 3 ]", "[ -1, 3 ]", also=("batch-one-only",), second=0),
    joined("fixed-full-dims-unbatched", "[ 3 ]", "[ 1, 3 ]", also=("batch-one-only",), second=0),
    joined("other-dims-unbatched", "[ 3 ]", "[ 1, 4 ]", "tensor-shapes-differ", second=0),
    ensemble("unbatched-of-batched", batch=0, also=("batch-one-only",)),
    ensemble("unbatched-with-the-batch", batch=0, inputs=tensor("input", "x", "[ -1, 3 ]"), outputs=tensor("output", "y", "[ -1, 3 ]")),
    ensemble("reshaped-input", inputs=tensor("input", "x", "[ 3, 1 ]", extra="reshape { shape: [ 3 ] }")),
    ensemble("reshaped-step", "tensor-shapes-differ", first=config(inputs=tensor("input", "x", "[ 3, 1 ]", extra="reshape { shape: [ 3 ] }"))),
    # The server compares with the first one seen: here with the ensemble's, which is free.
    ensemble(
        "free-first-hides-others", inputs=tensor("input", "x", "[ -1 ]"), outputs=Y + tensor("output", "z"),
        steps=step("@_a", {"x": "x"}, {"y": "y"}) + step("@_b", {"x": "x"}, {"y": "z"}), second=config(inputs=tensor("input", "x", "[ 7 ]"))),
    _consumers("consumers-differ", "[ 4 ]", "tensor-shapes-differ"),
    _consumers("consumers-alike", "[ 3 ]", ""),
    # decoupled
    ensemble("decoupled-step", first=config(_DECOUPLED)),
    ensemble("decoupled-cache", "cache-decoupled-step", first=config(_DECOUPLED), extra="response_cache { enable: true }"),
    meeting("meeting", "", config()),
    ensemble("meeting-of-one-decoupled", steps=step("@_a", {"x": "x"}, {"y": "t", "o": "u"}) + step("@_b", {"x": "t", "z": "u"}, {"y": "y"}), first=config(_DECOUPLED, outputs=Y + tensor("output", "o")), second=config(inputs=_TWO_IN)),
    meeting("meeting-decoupled", "decoupled-origins", config(_DECOUPLED), config(_DECOUPLED)),
    meeting("meeting-one-decoupled", "decoupled-origins", config(), config(_DECOUPLED)),
    Case(
        "ensemble-in-ensemble",
        {
            **ensemble("", "").files,
            "@_outer/config.pbtxt": config(f'ensemble_scheduling {{ {step("@", {"x": "x"}, {"y": "y"})} }}', backend='platform: "ensemble"'),
            "@_outer/1/keep": "",
        },
    ),
    Case(
        "scheduling-without-platform",
        {
            "@/config.pbtxt": config(f"ensemble_scheduling {{ {FIRST} {SECOND} }}", backend=""),
            **_FOOT, **model(config(), "_a"), **model(config(), "_b"),
        },
        "backend-unknown",
    ),
    Case(
        "scheduling-on-another-platform",
        {
            "@/config.pbtxt": config(f"ensemble_scheduling {{ {FIRST} {SECOND} }}", backend='platform: "onnxruntime_onnx"'),
            **_FOOT, **model(config(), "_a"), **model(config(), "_b"),
        },
        "ensemble-platform",
    ),
    Case("platform-without-scheduling", {"@/config.pbtxt": config(backend='platform: "ensemble"'), **_FOOT}, "step-missing"),
)  # fmt: skip
