"""Models of Ultralytics as its version 8.3 exports them, which lies in a folder of its own, first on the path."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from today.ultralytics_rows import ROWS as ALL

NAMES: Final = (
    "yolov8n",
    "yolo11n",
    "yolov10n",
    "yolo11n-nms",
    "yolo11n-seg",
    "yolo11n-pose",
    "yolo11n-obb",
    "yolo11n-cls",
)

ROWS: Final = [replace(row, name=f"{row.name}-83") for row in ALL if row.name in NAMES]
