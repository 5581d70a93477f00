"""What every layer took and ran in, for a person and for programs."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any, Final

from qtriton.operate.profile import VariantProfile, milliseconds
from qtriton.report.section import Section

#: The layers that are shown where not all were asked for.
_MOST: Final = 15
#: Of a layer's name; with the other columns that fills a terminal of 100.
_ROOM: Final = 44
#: Parts of a fused layer's name that are no layers of the model's.
_NOT_LAYERS: Final = re.compile(r"QuantizeLinear|weight|bias|^\(Unnamed|^Multiply_\d+$|_q$", re.IGNORECASE)


def sections(ran: Sequence[VariantProfile], everything: bool) -> Iterator[Section]:
    """How it was measured, then a table for each variant, its costliest layers first."""
    places = "; ".join(dict.fromkeys(each.where for each in ran))
    runs = "/".join(dict.fromkeys(str(each.repeats) for each in ran))
    yield Section(
        f"One random image on this machine ({places}), without a server; medians of {runs} runs. "
        "Timing each layer slows them down, so a total may be more than the model takes."
    )
    yield from (_table(each, everything) for each in ran)


def _table(ran: VariantProfile, everything: bool) -> Section:
    ordered = sorted(ran.layers, key=milliseconds, reverse=True)
    shown = ordered if everything else ordered[:_MOST]
    hidden = len(ordered) - len(shown)
    more = f"; {hidden} more with --all" if hidden else ""
    title = f"{ran.ensemble}: {len(ordered)} layers, {ran.total_ms:.2f} ms, {ran.integer_percent:.0f} % in INT8{more}"
    rows = tuple(
        (
            shortened(each.name, _ROOM),
            each.kind,
            each.datatype,
            f"{milliseconds(each):.3f}",
            f"{ran.percent(milliseconds(each)):.1f} %",
        )
        for each in shown
    )
    return Section(title, ("Layer", "Kind", "Runs in", "ms", "Share"), rows)


def shortened(name: str, room: int) -> str:
    """The name of a layer in so many letters: of what was fused, the layers first, then how many more there are."""
    parts = name.split(" + ")
    if len(name) <= room:
        return name
    layers = [part for part in parts if not _NOT_LAYERS.search(part)] or parts
    for count in range(len(layers), 0, -1):
        others = len(parts) - count
        short = " + ".join(layers[:count]) + (f" + {others} more" if others else "")
        if len(short) <= room:
            return short
    more = f" + {len(parts) - 1} more" if len(parts) > 1 else ""
    first, space = layers[0], room - len(more) - 3
    head = space // 3 if "/" in first else space  # of a path the end tells most
    return f"{first[:head]}...{first[len(first) - (space - head) :] if head < space else ''}{more}"


def as_json(ran: Sequence[VariantProfile]) -> dict[str, Any]:
    """All that was measured, by ensemble, in the order that the layers ran in."""
    return {
        each.ensemble: {
            "where": each.where,
            "repeats": each.repeats,
            "total_ms": each.total_ms,
            "int8_percent": each.integer_percent,
            "layers": [
                {
                    "name": layer.name,
                    "kind": layer.kind,
                    "runs_in": layer.datatype,
                    "median_ms": milliseconds(layer),
                    "percent": each.percent(milliseconds(layer)),
                    "times_ns": list(layer.times_ns),
                }
                for layer in each.layers
            ],
        }
        for each in ran
    }
