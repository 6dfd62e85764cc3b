"""Samples from records: what every reader gives becomes regions and tracks to ask about.

Knows the record schema. Refuses to know which reader made a record.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from perceive_anything.data.schema import (
    BoxXyxy,
    ClipRecord,
    ImageRecord,
    RegionRecord,
    TrackRecord,
)
from perceive_anything.evaluation.samples import Media, Sample, Truth
from perceive_anything.masks import decode_rle, encode_rle, mask_area
from perceive_anything.types import Box, Mask

__all__ = [
    "MIN_MASK_PX",
    "captioned",
    "followed",
    "image_samples",
    "labelled",
    "masked",
    "references",
    "track_samples",
    "transcribed",
]

MIN_MASK_PX = 32  # fewer pixels cannot be pointed at

TruthOf = Callable[[RegionRecord], Truth | None]


def image_samples(record: ImageRecord, truth_of: TruthOf) -> Iterator[Sample]:
    """The regions of an image that have what a benchmark asks for, pointed at by their boxes."""
    media = Media((record.handle,))
    for region in record.regions:
        truth = truth_of(region) if region.kind != "stuff" else None
        if truth is not None:
            box = _box(region.box_xyxy, record.size_wh)
            yield Sample(f"{record.id}:{region.id}", media, box, truth, region.label)


def labelled(region: RegionRecord) -> Truth | None:
    """The name of a region."""
    return Truth(label=region.label) if region.label else None


def transcribed(region: RegionRecord) -> Truth | None:
    """What is written in a region, if it can be read."""
    text = str(region.extra.get("transcription", "")).strip()
    return Truth(label=text) if text and text not in ("#", "###") else None


def captioned(region: RegionRecord) -> Truth | None:
    """What people said of a region."""
    texts = references(region.extra)
    return Truth(label=region.label, texts=texts) if texts else None


def masked(region: RegionRecord) -> Truth | None:
    """The mask of a region that is large enough to be pointed at."""
    mask = region.mask()
    if mask is None or mask_area(mask) < MIN_MASK_PX:
        return None
    return Truth(label=region.label, rle=region.rle)


def track_samples(record: ClipRecord) -> Iterator[Sample]:
    """The tracks of a clip that people described, pointed at by their first box.

    The model sees the part of the clip from the first to the last frame on which a track has a box:
    there, the description is true.
    """
    for track in record.regions:
        texts = references(track.extra) or record.captions
        if texts and track.boxes_xyxy:
            first, last = min(track.boxes_xyxy), max(track.boxes_xyxy)
            media = Media(record.frames[first : last + 1])
            box = _box(track.boxes_xyxy[first], record.size_wh)
            truth = Truth(label=track.label, texts=texts)
            yield Sample(f"{record.id}:{track.id}", media, box, truth, track.label)


def followed(record: ClipRecord) -> Iterator[Sample]:
    """The tracks of a clip that have masks, pointed at by the first of them."""
    media = Media(record.frames)
    for track in record.regions:
        if track.rles:
            yield Sample(
                f"{record.id}:{track.id}", media, _first_mask(track), _masks(record, track),
                track.label or record.id, min(track.rles),
            )  # fmt: skip


def references(extra: Mapping[str, Any]) -> tuple[str, ...]:
    """Texts of an annotation: captions, a caption, what was said to point it out."""
    found = [*extra.get("captions", ()), extra.get("caption"), *extra.get("phrases", ())]
    return tuple(dict.fromkeys(text for each in found if (text := str(each or "").strip())))


def _first_mask(track: TrackRecord) -> Mask:
    return Mask(decode_rle(track.rles[min(track.rles)]))


def _masks(record: ClipRecord, track: TrackRecord) -> Truth:
    """The mask of every frame that somebody looked at: an empty one where the object is hidden."""
    width, height = record.size_wh
    empty = encode_rle(np.zeros((height, width), bool))
    frames = range(len(record.frames))
    looked_at = set(track.extra.get("annotated_frames", frames))
    rles = (track.rles.get(n, empty) if n in looked_at else None for n in frames)
    return Truth(label=track.label, rles=tuple(rles))


def _box(box_xyxy: BoxXyxy, size_wh: tuple[int, int]) -> Box:
    x1, y1, x2, y2 = box_xyxy
    return Box(max(x1, 0), max(y1, 0), min(x2, size_wh[0]), min(y2, size_wh[1]))
