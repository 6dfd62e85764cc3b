"""Ref-L4 (arXiv 2406.16866): detailed expressions of boxes in COCO and Objects365 photos.

One table a split, `ref-l4-val.parquet` and `ref-l4-test.parquet` (or the same rows as JSON or JSON
lines): id, caption, bbox (x, y, w, h), bbox_id, ori_category_id, height, width, file_name. The
expressions of one `bbox_id` are the references of one region. Format as on its data card.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from perceive_anything.data.rows import xyxy_inside
from perceive_anything.errors import DataError, require_package
from perceive_anything.evaluation.benchmarks.source import UNUSABLE, Source
from perceive_anything.evaluation.samples import Sample, Truth
from perceive_anything.types import Box

__all__ = ["load"]

KINDS = ("parquet", "jsonl", "json")


def load(source: Source) -> Iterator[Sample]:
    """One sample a box; both splits are read, as the benchmark is made of both."""
    of_box: dict[tuple[str, str], list[tuple[str, Mapping[str, Any]]]] = {}
    for path in _files(source):
        for place, row in _table(source, path):
            try:
                text = str(row["caption"]).strip()
                if not text:
                    raise ValueError("its caption is empty")
                key = (str(row["file_name"]), str(row["bbox_id"]))
            except UNUSABLE as error:
                source.bad.leave_out(place, error)
                continue
            of_box.setdefault(key, []).append((place, row))
    for (name, box_id), rows in sorted(of_box.items()):
        place, first = rows[0]
        try:
            size_wh = (int(first["width"]), int(first["height"]))
            box = Box(*xyxy_inside(first["bbox"], size_wh))
            texts = tuple(str(row["caption"]).strip() for _, row in rows)
            media = source.image(name)
            group = str(first.get("ori_category_id", ""))
            yield Sample(f"{name}:{box_id}", media, box, Truth(texts=texts), group)
        except UNUSABLE as error:
            source.bad.leave_out(place, error)


def _files(source: Source) -> list[Path]:
    if source.root.is_file():
        return [source.root]
    found = []
    for split in ("val", "test"):
        files = (source.folder / f"ref-l4-{split}.{kind}" for kind in KINDS)
        found += [path for path in files if path.is_file()][:1]
    if not found:
        raise source.missing("ref-l4-val.parquet or ref-l4-test.parquet")
    return found


def _table(source: Source, path: Path) -> list[tuple[str, Mapping[str, Any]]]:
    if path.suffix != ".parquet":
        return source.rows(path)
    parquet = require_package("pyarrow.parquet", extra="eval")
    try:
        rows = parquet.read_table(path).to_pylist()
    except (OSError, ValueError) as error:  # pyarrow's own errors are ValueErrors
        raise DataError(f'"{path}" cannot be read: {error}.', code="bad_record") from error
    return [(f"{path.name}[{number}]", row) for number, row in enumerate(rows)]
