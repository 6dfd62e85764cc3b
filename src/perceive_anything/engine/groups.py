"""Granularity: groups of things of one name as regions, and parts that know their whole.

Knows records. Masks of a group are the union of its things'.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace

import numpy as np

from perceive_anything.data.grammar import is_plural, is_uncountable
from perceive_anything.data.schema import ImageRecord, RegionRecord
from perceive_anything.masks import encode_rle

INSIDE = 0.9  # of a part lies in its whole
SMALLER = 0.6  # of the whole's area a part has at most


def with_groups(record: ImageRecord) -> ImageRecord:
    """The record with `part_of` at its parts, and a region for each group of two or more things."""
    regions = [_with_whole(region, record) for region in record.regions]
    things: dict[str, list[RegionRecord]] = defaultdict(list)
    for region in regions:
        single = not is_plural(region.label) and not is_uncountable(region.label)
        if region.kind == "instance" and region.label and single:
            things[region.label].append(region)
    number = max((region.id for region in regions), default=-1) + 1
    for members in things.values():
        if len(members) > 1:
            regions.append(_group(number, members))
            number += 1
    return replace(record, regions=tuple(regions))


def plural(label: str) -> str:
    """The name of several things: "cat" -> "cats", "person" -> "people"."""
    irregular = {"person": "people", "man": "men", "woman": "women", "child": "children"}
    head, _, last = label.rpartition(" ")
    if last in irregular:
        last = irregular[last]
    elif last.endswith(("s", "x", "ch", "sh")):
        last += "es"
    elif last.endswith("y") and last[-2:-1] not in "aeiou":
        last = last[:-1] + "ies"
    elif last.endswith("fe"):
        last = last[:-2] + "ves"
    else:
        last += "s"
    return f"{head} {last}" if head else last


def _group(number: int, members: list[RegionRecord]) -> RegionRecord:
    boxes = np.array([member.box_xyxy for member in members])
    x1, y1 = boxes[:, :2].min(0).tolist()
    x2, y2 = boxes[:, 2:].max(0).tolist()
    masks = [mask for member in members if (mask := member.mask()) is not None]
    whole = len(masks) == len(members)
    return RegionRecord(
        number,
        plural(members[0].label),
        members[0].label_zh,
        (x1, y1, x2, y2),
        encode_rle(np.any(masks, axis=0)) if whole else None,
        "group",
        {"members": [member.id for member in members]},
    )


def _with_whole(region: RegionRecord, record: ImageRecord) -> RegionRecord:
    if region.kind != "part":
        return region
    wholes = [
        other for other in record.regions
        if other is not region and other.kind == "instance"
        and _area(region.box_xyxy) <= SMALLER * _area(other.box_xyxy)
        and _shared(region.box_xyxy, other.box_xyxy) >= INSIDE * _area(region.box_xyxy)
    ]  # fmt: skip
    if not wholes:
        return region
    nearest = min(wholes, key=lambda other: _area(other.box_xyxy))
    return replace(region, extra={**region.extra, "part_of": nearest.id})


def _area(box_xyxy: tuple[float, float, float, float]) -> float:
    x1, y1, x2, y2 = box_xyxy
    return max(0.0, x2 - x1) * max(0.0, y2 - y1)


def _shared(a: tuple[float, float, float, float], b: tuple[float, float, float, float]) -> float:
    return _area((max(a[0], b[0]), max(a[1], b[1]), min(a[2], b[2]), min(a[3], b[3])))
