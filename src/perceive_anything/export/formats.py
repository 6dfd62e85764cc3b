"""The formats that files can be exported to, by name, and what each writes.

Knows the writers; nothing of what a format looks like inside.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

from perceive_anything.errors import OptionError
from perceive_anything.export.answers import RESULTS_SCHEMA
from perceive_anything.export.coco import write_coco
from perceive_anything.export.cvat import write_cvat
from perceive_anything.export.fifty_one import write_fiftyone
from perceive_anything.export.files import write_json_file, write_text_file
from perceive_anything.export.label_studio import write_label_studio
from perceive_anything.export.mask_files import write_masks
from perceive_anything.export.records import ExportedImage
from perceive_anything.export.yolo import write_yolo
from perceive_anything.tasks import unknown


def write_json(images: Sequence[ExportedImage], folder: Path) -> list[Path]:
    """Write `results.json`, one object for all images."""
    entries = [dict(image.entry) for image in images]
    value = {"schema": RESULTS_SCHEMA, "results": entries}
    return [write_json_file(value, folder / "results.json")]


def write_jsonl(images: Sequence[ExportedImage], folder: Path) -> list[Path]:
    """Write `results.jsonl`, an object a line for each image."""
    lines = (json.dumps(image.entry, ensure_ascii=False) + "\n" for image in images)
    return [write_text_file("".join(lines), folder / "results.jsonl")]


WRITERS: dict[str, Callable[[Sequence[ExportedImage], Path], list[Path]]] = {
    "json": write_json,
    "jsonl": write_jsonl,
    "coco": write_coco,
    "yolo": write_yolo,
    "labelstudio": write_label_studio,
    "cvat": write_cvat,
    "fiftyone": write_fiftyone,
    "masks": write_masks,
}


def write_export(name: str, images: Sequence[ExportedImage], folder: str | Path) -> list[Path]:
    """Write answered images in another format.

    Args:
        name: A key of `WRITERS`.
        images: In the order in which the format numbers them.
        folder: Where to; it is made. Files of the same names are replaced.

    Returns:
        The files.

    Raises:
        OptionError: There is no such format, it cannot say this, or a file cannot be written.
    """
    if name not in WRITERS:
        raise OptionError(unknown("format", name, tuple(WRITERS)), code="unknown_option")
    return WRITERS[name](images, Path(folder))
