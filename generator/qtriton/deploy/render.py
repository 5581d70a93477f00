"""One template for both forms of an object: with values in it for kustomize, with Helm's expressions for the chart."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from textwrap import indent
from typing import TYPE_CHECKING, Any, Final

from qtriton import resources
from qtriton.deploy.times import TIMES
from qtriton.server.requirements import BUILDING_S

if TYPE_CHECKING:
    from jinja2 import Environment

#: Where Helm finds a value, by the name that the templates have for it; the rest are fields of the same name.
_IN_CHART: Final = {
    "namespace": ".Release.Namespace",
    "destination": ".Values.release.destination",
    "release": ".Values.release.id",
}


@dataclass(frozen=True)
class Renderer:
    """Fills templates with the values of one deployment."""

    #: What a user of the chart may set, by name.
    values: Mapping[str, str | int]
    #: What the templates decide by, and place where it does not change.
    facts: Mapping[str, Any]

    def manifest(self, template: str, **more: Any) -> str:
        """A file with its values."""
        return self._render(template, more, chart=False)

    def in_chart(self, template: str, only_if: str = "", **more: Any) -> str:
        """A template of the chart, which is there only where an expression of Helm's says so."""
        text = self._render(template, more, chart=True)
        return f"{{{{- if {only_if} }}}}\n{text}{{{{- end }}}}\n" if only_if else text

    def _render(self, template: str, more: Mapping[str, Any], chart: bool) -> str:
        functions = (_expression, _placeholder, _escaped) if chart else (self._scalar, self._text, str)
        names = dict(zip(("v", "text", "literal"), functions, strict=True))
        fixed = {"chart": chart, "times": TIMES, "building_s": round(BUILDING_S), "values": self.values}
        return _environment().get_template(f"deploy/{template}").render(**fixed, **self.facts, **names, **more)

    def _scalar(self, name: str) -> str:
        return json.dumps(self.values[name])

    def _text(self, name: str) -> str:
        return str(self.values[name])


@cache
def _environment() -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    # Brackets, as Helm's templates and Prometheus' annotations have the braces.
    environment = Environment(
        loader=FileSystemLoader(resources.templates()),
        undefined=StrictUndefined,
        autoescape=False,  # this is YAML; texts of the user's are checked, or pass through `tojson`
        block_start_string="[%",
        block_end_string="%]",
        variable_start_string="[[",
        variable_end_string="]]",
        comment_start_string="[#",
        comment_end_string="#]",
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["tojson"] = json.dumps  # Jinja's is for HTML
    environment.filters["at"] = _at
    environment.filters["path"] = _path
    return environment


def _at(text: str, column: int) -> str:
    """A text of several lines, whose first line stands at a column already."""
    return indent(text.strip(), " " * column).lstrip()


def _path(name: str) -> str:
    """Where Helm finds a value."""
    return _IN_CHART.get(name, f".Values.{name}")


def _placeholder(name: str) -> str:
    return f"{{{{ {_path(name)} }}}}"


def _expression(name: str) -> str:
    """A number of pods is a number; all else is a text."""
    return _placeholder(name) if name in ("replicas", "maxReplicas") else f"{{{{ {_path(name)} | quote }}}}"


def _escaped(text: str) -> str:
    """A text that Helm leaves as it is; closing braces alone mean nothing to it."""
    return text.replace("{{", "{{ `{{` }}")
