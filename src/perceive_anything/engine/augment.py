"""What is added to finished records: prompts to point at a region with, and further questions.

Everything follows from the recipe's seed and the region's name. Knows records; asks no teacher.
"""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import numpy as np
from scipy.ndimage import distance_transform_edt

from perceive_anything.data.schema import (  # fmt: skip
    BoxXyxy,
    Click,
    ClipRecord,
    ImageRecord,
    RegionRecord,
    TrackRecord,
)
from perceive_anything.engine.jobs import Record
from perceive_anything.engine.questions import clip_turns, region_turns
from perceive_anything.engine.recipe import DataRecipe

MAX_CLICKS = 4  # as in training
LOOSE = 0.1  # of its side by which an edge of the loose box moves


def augmented(record: Record, recipe: DataRecipe) -> Record:
    """The record with what the recipe's `augment` asks for.

    Args:
        record: A finished record.
        recipe: The recipe.
    """
    wanted = recipe.augment
    if not (wanted.prompts or wanted.questions):
        return record
    if isinstance(record, ClipRecord):
        if not wanted.questions:
            return record
        tracks = tuple(_with_clip_turns(track, record, recipe.seed) for track in record.regions)
        return replace(record, regions=tracks)
    regions = tuple(_region(region, record, recipe) for region in record.regions)
    return replace(record, regions=regions)


def prompts_of(
    region: RegionRecord, size_wh: tuple[int, int], rng: random.Random
) -> list[dict[str, Any]]:
    """Ways to point at a region, as JSON: clicks (with a mask), boxes, the mask.

    Args:
        region: The region.
        size_wh: Of its image in pixels.
        rng: Source of chance.
    """
    mask = region.mask()
    prompts: list[dict[str, Any]] = []
    if mask is not None and mask.any():
        clicks = clicks_of(mask, rng, rng.randint(1, MAX_CLICKS))
        points, labels = [[x, y] for x, y, _ in clicks], [label for *_, label in clicks]
        prompts.append({"type": "points", "points": points, "labels": labels})
        prompts.append({"type": "mask", "mask": dict(region.rle or {})})
    prompts.append({"type": "box", "box": list(region.box_xyxy)})
    prompts.append({"type": "box", "box": list(_loose(region.box_xyxy, size_wh, rng))})
    return prompts


def clicks_of(mask: np.ndarray, rng: random.Random, count: int) -> list[Click]:
    """Clicks as a person corrects: the first deep inside, others inside or just outside.

    Args:
        mask: bool (H, W), not empty.
        rng: Source of chance.
        count: How many.
    """
    depth = distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1]
    deep = np.argwhere(depth >= 0.6 * depth.max())
    clicks = [_click(deep, rng, 1)]
    inside = np.argwhere(mask)
    reach = max(2.0, 0.1 * float(np.sqrt(mask.sum())))
    near = np.argwhere(~mask & (distance_transform_edt(~mask) <= reach))
    for _ in range(count - 1):
        outside = len(near) > 0 and rng.random() < 0.5
        clicks.append(_click(near if outside else inside, rng, 0 if outside else 1))
    return clicks


def _click(cells: np.ndarray, rng: random.Random, label: int) -> Click:
    y, x = cells[rng.randrange(len(cells))]
    return float(x) + 0.5, float(y) + 0.5, label


def _loose(box_xyxy: BoxXyxy, size_wh: tuple[int, int], rng: random.Random) -> BoxXyxy:
    x1, y1, x2, y2 = box_xyxy
    wide, high = (x2 - x1) * LOOSE, (y2 - y1) * LOOSE
    edges = zip(box_xyxy, (wide, high) * 2, strict=True)
    moved = [round(edge + rng.uniform(-1, 1) * span, 1) for edge, span in edges]
    return (
        max(0.0, moved[0]), max(0.0, moved[1]),
        min(float(size_wh[0]), moved[2]), min(float(size_wh[1]), moved[3]),
    )  # fmt: skip


def _region(region: RegionRecord, record: ImageRecord, recipe: DataRecipe) -> RegionRecord:
    rng = random.Random(f"{recipe.seed}/{record.id}/{region.id}")
    extra = dict(region.extra)
    if recipe.augment.prompts:
        extra["prompts"] = prompts_of(region, record.size_wh, rng)
        clicks = next((p for p in extra["prompts"] if p["type"] == "points"), None)
        if clicks and "points" not in extra:
            pairs = zip(clicks["points"], clicks["labels"], strict=True)
            extra["points"] = tuple((x, y, label) for (x, y), label in pairs)
    if recipe.augment.questions:
        others = tuple(other for other in record.regions if other is not region)
        extra["turns"] = region_turns(region, others, rng)
    return replace(region, extra=extra)


def _with_clip_turns(track: TrackRecord, record: ClipRecord, seed: int) -> TrackRecord:
    rng = random.Random(f"{seed}/{record.id}/{track.id}")
    return replace(track, extra={**track.extra, "turns": clip_turns(track, rng)})
