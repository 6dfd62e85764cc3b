"""Your own data: a folder in COCO format, or JSON lines, a region each.

A line has `image` (a path from the file's folder), `box` (x1, y1, x2, y2 in pixels) or `mask` (COCO
RLE or polygons) or both, and what there is of `label`, `caption` and `captions`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from perceive_anything.data.readers.coco import read_coco
from perceive_anything.data.rows import xyxy_inside
from perceive_anything.data.schema import ByteRange, ImageRecord, RegionRecord
from perceive_anything.evaluation.benchmarks.records import (
    captioned,
    image_samples,
    labelled,
    masked,
)
from perceive_anything.evaluation.benchmarks.source import UNUSABLE, Source
from perceive_anything.evaluation.samples import Media, Sample
from perceive_anything.masks import decode_rle, mask_to_box_xyxy, segmentation_to_rle

__all__ = ["load_captions", "load_recognition", "load_segmentation"]


def load_segmentation(source: Source) -> Iterator[Sample]:
    """Regions with masks of at least 32 pixels."""
    return (sample for record in _records(source) for sample in image_samples(record, masked))


def load_recognition(source: Source) -> Iterator[Sample]:
    """Regions with names."""
    return (sample for record in _records(source) for sample in image_samples(record, labelled))


def load_captions(source: Source) -> Iterator[Sample]:
    """Regions with captions."""
    return (sample for record in _records(source) for sample in image_samples(record, captioned))


def _records(source: Source) -> Iterator[ImageRecord]:
    lines = _lines_file(source)
    if lines is not None:
        return _of_lines(source, lines)
    bad = source.bad
    return iter(read_coco(source.root, max_bad=bad.max_bad, report=bad.report))


def _lines_file(source: Source) -> Path | None:
    if source.root.is_file():
        return source.root if source.root.suffix == ".jsonl" else None
    found = sorted(source.root.glob("*.jsonl"))
    return found[0] if found and not any(source.root.glob("*.json")) else None


def _of_lines(source: Source, path: Path) -> Iterator[ImageRecord]:
    of_image: dict[str, list[tuple[str, Mapping[str, Any]]]] = {}
    for place, row in source.rows(path):
        if isinstance(row.get("image"), str):
            of_image.setdefault(row["image"], []).append((place, row))
        else:
            source.bad.leave_out(place, "it names no image")
    for name, rows in of_image.items():
        try:
            file = source.picture(name)
            size_wh = source.size_wh(Media((ByteRange(str(file)),)))
        except UNUSABLE as error:
            for place, _ in rows:
                source.bad.leave_out(place, error)
            continue
        regions: list[RegionRecord] = []
        for place, row in rows:
            try:
                regions.append(_region(len(regions), row, size_wh))
            except UNUSABLE as error:
                source.bad.leave_out(place, error)
        handle = ByteRange(str(file))
        yield ImageRecord(name, path.stem, "", "val", size_wh, (), tuple(regions), handle)


def _region(number: int, row: Mapping[str, Any], size_wh: tuple[int, int]) -> RegionRecord:
    rle = segmentation_to_rle(row["mask"], size_wh[::-1]) if row.get("mask") else None
    if "box" in row:
        x1, y1, x2, y2 = (float(value) for value in row["box"])
    else:
        found = mask_to_box_xyxy(decode_rle(rle)) if rle else None
        if found is None:
            raise ValueError("it has neither a box nor a mask")
        x1, y1, x2, y2 = found
    box_xyxy = xyxy_inside((x1, y1, x2 - x1, y2 - y1), size_wh)
    texts = {name: row[name] for name in ("caption", "captions") if row.get(name)}
    label = str(row.get("label", "")).strip().lower()
    return RegionRecord(number, label, row.get("label_zh"), box_xyxy, rle, "instance", texts)
