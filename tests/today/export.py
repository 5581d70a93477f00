"""Export models of today and what their own projects make of some photos: `python -m today.export FOLDER MODULE...`."""

from __future__ import annotations

import sys
import time
import traceback
from importlib import import_module
from pathlib import Path

from today.photos import FOUR_TO_THREE, write_four_to_three, write_photos
from today.row import write


def export(folder: Path, modules: list[str], only: str = "") -> list[str]:
    """Write all rows of the modules into FOLDER; the names of those that failed."""
    write_photos(folder / "photos")
    write_four_to_three(folder / FOUR_TO_THREE)
    failed = []
    for row in [row for name in modules for row in import_module(f"today.{name}").ROWS]:
        if only not in row.name:
            continue
        began = time.monotonic()
        try:
            write(row, folder)
        except Exception:
            traceback.print_exc()
            failed.append(row.name)
        print(f"{row.name}: {time.monotonic() - began:.1f} s{' FAILED' if row.name in failed else ''}", flush=True)
    return failed


if __name__ == "__main__":
    sys.exit(1 if export(Path(sys.argv[1]), sys.argv[2].split(","), *sys.argv[3:]) else 0)
