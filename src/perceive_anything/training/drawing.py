"""Which pictures and clips make a batch, which of their regions, and how they are pointed at.

Knows records and chance; no pixels, no tensors. A step is of pictures or of clips, and its batches
hold texts of like length: processes that share a step add up the same gradients, and none waits
long for another.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from perceive_anything.data.schema import Click, ClipRecord, RegionRecord, TrackRecord
from perceive_anything.data.shards import ShardedRecords
from perceive_anything.errors import DataError
from perceive_anything.training.prompts import (
    SimulatedPrompt,
    box_prompt,
    click_prompt,
    mask_prompt,
)
from perceive_anything.training.regions import TrainingRegion
from perceive_anything.training.texts import AnyRegion, Record, TextSource

IMAGE_CLICKS, CLIP_CLICKS = 4, 3  # most clicks in training (arXiv 2506.05302)
MASK_SHARE = 0.2
ATTEMPTS = 1000


@dataclass(frozen=True, slots=True)
class Source:
    """Records that share where their texts come from.

    Attributes:
        records: Pictures, clips or both.
        texts: Their texts.
        weight: How often a step is drawn from it, beside the others.
    """

    records: Sequence[Record]
    texts: TextSource
    weight: float


@dataclass(frozen=True, slots=True)
class Pick:
    """A picture or clip and the regions of it that take part."""

    source: Source
    record: Record
    regions: tuple[AnyRegion, ...]

    @property
    def length(self) -> int:
        """Characters of the longest region's answers, on average."""
        return max(self.source.texts.length(region) for region in self.regions)


class Drawer:
    """Draws the picks of numbered batches; each depends on the seed and its number alone.

    Args:
        sources: Pictures and clips.
        rows: Pictures of a batch; a clip is a batch of its own.
        per_row: Regions of each, at most.
        batches: Batches of a step: among them, answers of like length come together.
        seed: Seed of all chance.
    """

    def __init__(
        self, sources: Sequence[Source], *, rows: int, per_row: int, batches: int, seed: int
    ) -> None:
        self.rows, self.per_row, self.batches, self.seed = rows, per_row, batches, seed
        kinds = [(_only(s, clips=False), _only(s, clips=True)) for s in sources]
        self.images, self.clips = ([pair[i] for pair in kinds if pair[i]] for i in (0, 1))
        self.step = lru_cache(maxsize=2)(self._step)

    def draw(self, number: int) -> list[Pick]:
        """The picks of batch `number`."""
        return self.step(number // self.batches)[number % self.batches]

    def _step(self, step: int) -> list[list[Pick]]:
        rng = random.Random(f"{self.seed}/{step}")
        kinds = [(self.images, self.rows), (self.clips, 1)]
        totals = [sum(source.weight for source in sources) for sources, _ in kinds]
        sources, rows = rng.choices(kinds, totals)[0]
        picks = [self._pick(sources, rng) for _ in range(rows * self.batches)]
        picks.sort(key=lambda pick: pick.length)
        return [picks[i : i + rows] for i in range(0, len(picks), rows)]

    def _pick(self, sources: Sequence[Source], rng: random.Random) -> Pick:
        for _ in range(ATTEMPTS):
            source = rng.choices(sources, [source.weight for source in sources])[0]
            record = source.records[rng.randrange(len(source.records))]
            usable = [r for r in record.regions if _usable(r) and source.texts.length(r)]
            if usable:
                picked = rng.sample(usable, min(len(usable), self.per_row))
                return Pick(source, record, tuple(picked))
        raise DataError(
            f"no usable region in {ATTEMPTS} records.\n  Regions need a box and a text.",
            code="bad_record",
        )


def _only(source: Source, *, clips: bool) -> Source | None:
    """The pictures or the clips of a source; None if it has none."""
    kept: Sequence[Record]
    if isinstance(source.records, ShardedRecords):
        kept = source.records.only(clips=clips)
    else:
        kept = [record for record in source.records if isinstance(record, ClipRecord) is clips]
    return replace(source, records=kept) if kept else None


def _usable(region: AnyRegion) -> bool:
    if isinstance(region, TrackRecord):
        return bool(known_frames(region))
    return region.kind != "stuff"


def known_frames(region: TrackRecord) -> list[int]:
    """The frames on which a region of a clip can be pointed at."""
    return sorted({*region.boxes_xyxy, *region.points})


def on_frame(region: TrackRecord, frame: int) -> RegionRecord:
    """A region of a clip as one of a picture, on one of its known frames."""
    extra, points = dict(region.extra), region.points.get(frame)
    box_xyxy = region.boxes_xyxy.get(frame)
    if points:
        extra["points"] = points
    if box_xyxy is None:
        extra["points_only"] = True
        xs, ys = zip(*((x, y) for x, y, _ in points), strict=True)
        box_xyxy = (min(xs), min(ys), max(xs), max(ys))
    return RegionRecord(
        region.id, region.label, region.label_zh, box_xyxy, region.rles.get(frame), "instance",
        extra,
    )  # fmt: skip


def draw_prompt(
    region: TrainingRegion, size_wh: tuple[int, int], side: int, rng: random.Random, clicks: int
) -> SimulatedPrompt:
    """A box, clicks or the mask, as far as they are known; clicks and boxes equally often.

    Args:
        region: In pixels of the model input.
        size_wh: Of its picture.
        side: Of the model input.
        rng: Source of chance.
        clicks: Most clicks.
    """
    points, no_box = (region.region.extra.get(name) for name in ("points", "points_only"))
    if region.mask is not None and rng.random() < MASK_SHARE:
        return mask_prompt(region.soft_mask())
    if no_box or ((points or region.mask is not None) and rng.random() < 0.5):
        count = rng.randint(1, clicks)
        if points:
            return given_clicks(points, size_wh, side, rng, count)
        return click_prompt(region.soft_mask(), 4, rng, count)
    return box_prompt(region.box_xyxy, rng)


def given_clicks(
    points: Sequence[Click], size_wh: tuple[int, int], side: int, rng: random.Random, count: int
) -> SimulatedPrompt:
    """Some of the annotated points, one inside among them where there is any."""
    inside = [point for point in points if point[2] == 1]
    first = rng.choice(inside) if inside else points[0]
    rest = [point for point in points if point is not first]
    chosen = [first, *rng.sample(rest, min(len(rest), count - 1))]
    scale = np.array([side / size_wh[0], side / size_wh[1]])
    return SimulatedPrompt(
        tuple((float(x * scale[0]), float(y * scale[1]), int(label)) for x, y, label in chosen)
    )
