"""What exporters write into the metadata of an ONNX file."""

from __future__ import annotations

import ast
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

#: Who writes such metadata.
Project: TypeAlias = Literal["Ultralytics", "YOLOv5", "libreyolo", ""]
#: A longer value is none that an exporter wrote.
_LONGEST: Final = 1 << 20


@dataclass(frozen=True)
class Metadata:
    """The metadata of a file, by key, as text."""

    raw: Mapping[str, str]

    @property
    def project(self) -> Project:
        """Whose file it is: Ultralytics writes its name and a task, YOLOv5's export.py stride and names alone."""
        if "model_family" in self.raw:
            return "libreyolo"
        if self.raw.get("author") == "Ultralytics" or {"task", "stride", "imgsz", "names"} <= set(self.raw):
            return "Ultralytics"
        return "YOLOv5" if {"stride", "names"} <= set(self.raw) else ""

    @property
    def whose(self) -> str:
        """The metadata in words."""
        return f"{self.project}' metadata" if self.project.endswith("s") else f"{self.project}'s metadata"

    def text(self, key: str) -> str:
        """A value as text; "" where there is none."""
        return self.raw.get(key, "")

    def value(self, key: str) -> Any:
        """A value that is JSON or a Python literal: exporters write either; None where it is none."""
        text = self.text(key)
        if not text or len(text) > _LONGEST:
            return None
        for read in (json.loads, ast.literal_eval):
            try:
                return read(text)
            except (ValueError, SyntaxError, RecursionError, MemoryError):
                continue
        return None

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes in the order of the model's scores; none where it names none, or names with gaps."""
        character = self.text("character")
        if character:  # PaddleOCR and RapidLayout: a line a class
            return tuple(character.split("\n"))
        names = self.value("names")
        if isinstance(names, Mapping):
            numbered = {int(key): str(name) for key, name in names.items() if str(key).isdigit()}
            whole = len(numbered) == len(names) and set(numbered) == set(range(len(names)))
            return tuple(numbered[number] for number in range(len(names))) if whole else ()
        return tuple(map(str, names)) if isinstance(names, list | tuple) else ()

    @property
    def size(self) -> tuple[int, int] | None:
        """Height and width of the image, where the file states them."""
        high, wide = self.value("imgsz_h"), self.value("imgsz_w")
        sizes = [high, wide] if high and wide else self.value("imgsz")
        if isinstance(sizes, int):
            sizes = [sizes, sizes]
        if isinstance(sizes, list | tuple) and len(sizes) == 2 and all(isinstance(each, int) for each in sizes):
            return sizes[0], sizes[1]
        return None

    def arg(self, name: str) -> Any:
        """An argument of Ultralytics' export; None where it is not stated."""
        args = self.value("args")
        return args.get(name) if isinstance(args, Mapping) else None
