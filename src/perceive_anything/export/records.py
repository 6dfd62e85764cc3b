"""What every export starts from: an image's entry of result JSON, read as values.

Knows the result JSON; no Region class, no other format.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Any

from perceive_anything.export.answers import TEXT_FIELDS
from perceive_anything.masks import BoolMask, decode_rle

UNNAMED_CATEGORY = "region"


@dataclass(frozen=True, slots=True)
class ExportedRegion:
    """One region of an exported image.

    Args:
        id: Its number in the image, from 0.
        box_xyxy: Box of the mask in pixels, x2 and y2 exclusive; zeros if the mask is empty.
        rle: COCO RLE of the mask.
        score: 0..1.
        texts: Text by field name of those that were written.
        label_confidence: 0..1, None without a label.
        uncertain: Whether the label is in doubt.
    """

    id: int
    box_xyxy: tuple[int, int, int, int]
    rle: Mapping[str, Any] = field(repr=False, hash=False)
    score: float
    texts: Mapping[str, str | None] = field(hash=False)
    label_confidence: float | None
    uncertain: bool

    @classmethod
    def of(cls, entry: Mapping[str, Any]) -> ExportedRegion:
        """From an entry of "regions"."""
        x1, y1, x2, y2 = entry["box"]
        return cls(
            id=entry["id"],
            box_xyxy=(x1, y1, x2, y2),
            rle=entry["mask"],
            score=entry["score"],
            texts={name: entry[name] for name in TEXT_FIELDS if name in entry},
            label_confidence=entry.get("label_confidence"),
            uncertain=entry.get("uncertain", False),
        )

    @property
    def mask(self) -> BoolMask:
        """Boolean (H, W), decoded anew each time."""
        return decode_rle(self.rle)

    @property
    def is_empty(self) -> bool:
        """Whether the mask has no pixel."""
        return self.box_xyxy == (0, 0, 0, 0)

    @property
    def category(self) -> str:
        """Its label, or "region"."""
        return self.texts.get("label") or UNNAMED_CATEGORY


@dataclass(frozen=True, slots=True)
class ExportedImage:
    """An answered image.

    Args:
        entry: Its "perceive.result/1" object.
        name: What other formats call it: a path with slashes, relative to the images' folder.
        path: Where it lies, for the formats that say so.
    """

    entry: Mapping[str, Any] = field(repr=False, hash=False)
    name: str
    path: Path

    @classmethod
    def of(cls, entry: Mapping[str, Any]) -> ExportedImage:
        """From a result alone: its source is the file."""
        return cls(entry, PurePath(entry["source"]).name, Path(entry["source"]))

    @property
    def size_wh(self) -> tuple[int, int]:
        """Width and height in pixels."""
        return self.entry["size"]["width"], self.entry["size"]["height"]

    @property
    def regions(self) -> tuple[ExportedRegion, ...]:
        """In the order of the result."""
        return tuple(ExportedRegion.of(entry) for entry in self.entry["regions"])


def category_ids(images: Iterable[ExportedImage]) -> dict[str, int]:
    """A number from 1 for each label, in the order of appearance."""
    ids: dict[str, int] = {}
    for image in images:
        for region in image.regions:
            ids.setdefault(region.category, len(ids) + 1)
    return ids
