"""The lists of LVIS and PACO regions on which open-vocabulary recognition is measured.

One JSON list a set, an image an item: file_name, height, width, and side by side `categories`
(names) and `annotations` (bbox, segmentation). Format as read by the evaluation of Osprey
(arXiv 2312.10032), from which the lists come.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from perceive_anything.data.rows import xyxy_inside
from perceive_anything.evaluation.benchmarks.source import UNUSABLE, Source
from perceive_anything.evaluation.samples import Sample, Truth
from perceive_anything.masks import segmentation_to_rle
from perceive_anything.types import Box

__all__ = ["load_lvis", "load_paco"]


def load_lvis(source: Source) -> Iterator[Sample]:
    """Regions of `lvis_val_1k_category.json`."""
    return _load(source, "lvis_val_1k_category.json")


def load_paco(source: Source) -> Iterator[Sample]:
    """Objects and parts of `paco_val_1k_category.json`."""
    return _load(source, "paco_val_1k_category.json")


def _load(source: Source, name: str) -> Iterator[Sample]:
    for place, row in source.rows(source.file(name, f"*/{name}")):
        try:
            names, annotations = row["categories"], row["annotations"]
            media = source.image(row["file_name"])
            if len(names) != len(annotations):
                raise ValueError(f"{len(names)} categories, {len(annotations)} annotations")
        except UNUSABLE as error:
            source.bad.leave_out(place, error)
            continue
        for number, (category, annotation) in enumerate(zip(names, annotations, strict=True)):
            try:
                key = f"{row['file_name']}:{number}"
                yield Sample(key, media, *_region(row, str(category), annotation))
            except UNUSABLE as error:
                source.bad.leave_out(f"{place} annotation {number}", error)


def _region(
    row: Mapping[str, Any], category: str, annotation: Mapping[str, Any]
) -> tuple[Box, Truth, str]:
    """Prompt, truth and group."""
    size_wh = (int(row["width"]), int(row["height"]))
    box = Box(*xyxy_inside(annotation["bbox"], size_wh))
    outline = annotation.get("segmentation")
    rle = segmentation_to_rle(outline, size_wh[::-1]) if outline else None
    return box, Truth(label=category, rle=rle), category
