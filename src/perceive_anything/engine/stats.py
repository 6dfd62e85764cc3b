"""Counts of records: how many, of what, with which texts.

Knows records; one pass, flat memory but for the names of labels.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from perceive_anything.data.schema import ClipRecord
from perceive_anything.engine.jobs import Record

TEXTS = ("caption", "explanation", "description", "previous")


@dataclass(slots=True)
class Stats:
    """What records hold.

    Attributes:
        images: Records of images.
        clips: Records of clips.
        regions: Regions of both.
        masks: Regions with a mask, at least on one frame.
        turns: Questions with answers.
        labels: Regions by English label.
        texts: Texts by name.
        characters: Their lengths together, by name.
        sources: Records by source.
    """

    images: int = 0
    clips: int = 0
    regions: int = 0
    masks: int = 0
    turns: int = 0
    labels: Counter[str] = field(default_factory=Counter)
    texts: Counter[str] = field(default_factory=Counter)
    characters: Counter[str] = field(default_factory=Counter)
    sources: Counter[str] = field(default_factory=Counter)

    def lines(self) -> list[str]:
        """The counts as lines of text."""
        common = ", ".join(f"{label or '-'} {n}" for label, n in self.labels.most_common(10))
        lines = [
            f"{self.images} images, {self.clips} clips, {self.regions} regions "
            f"({self.masks} with masks), {self.turns} turns",
            f"sources: {', '.join(f'{name} {n}' for name, n in self.sources.most_common(10))}",
            f"{len(self.labels)} labels: {common}",
        ]
        lines += [
            f"{name}: {number} texts of {self.characters[name] / number:.0f} characters"
            for name, number in sorted(self.texts.items())
        ]
        return lines


def stats_of(records: Iterable[Record]) -> Stats:
    """Count records.

    Args:
        records: Taken one by one.
    """
    stats = Stats()
    for record in records:
        is_clip = isinstance(record, ClipRecord)
        stats.clips += is_clip
        stats.images += not is_clip
        stats.sources[record.source or "-"] += 1
        for region in record.regions:
            stats.regions += 1
            stats.masks += bool(getattr(region, "rles", None) or getattr(region, "rle", None))
            stats.labels[region.label] += 1
            stats.turns += len(region.extra.get("turns", ()))
            for name in (key + suffix for key in TEXTS for suffix in ("", "_zh")):
                if text := region.extra.get(name):
                    stats.texts[name] += 1
                    stats.characters[name] += len(str(text))
    return stats
