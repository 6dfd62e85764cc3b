"""Records as JSON objects and back: a line of a pack, or the JSON of a sample in a shard.

Knows the fields of an annotation. Refuses to know where the objects and the pixels lie.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from perceive_anything.data.schema import (
    BoxXyxy,
    ByteRange,
    Click,
    ClipRecord,
    ImageRecord,
    RegionRecord,
    TrackRecord,
)

__all__ = ["Row", "clip_from_row", "image_from_row", "row_from_record", "xyxy_inside"]

Row = Mapping[str, Any]
_REGION_FIELDS = frozenset({"id", "label", "label_zh", "box", "mask", "kind"})
_LISTS = frozenset({"phrases", "attributes", "annotated_frames"})  # tuples in records
_TRACK_FIELDS = frozenset({"id", "label", "label_zh", "boxes", "points", "masks"})


def image_from_row(row: Row, handle: ByteRange) -> ImageRecord:
    """The record of an image's JSON object.

    Args:
        row: The object.
        handle: Where the image lies.

    Raises:
        KeyError: A field is missing.
        TypeError: A field is of another kind.
        ValueError: A field has a wrong value.
    """
    return ImageRecord(
        **_head(row),
        captions=tuple(row.get("captions") or ()),
        regions=tuple(_region(region) for region in row["regions"]),
        handle=handle,
    )


def clip_from_row(row: Row, frames: Sequence[ByteRange]) -> ClipRecord:
    """The record of a clip's JSON object, which has `frames`, their number.

    Args:
        row: The object.
        frames: Where the frames lie, in order.

    Raises:
        KeyError: A field is missing.
        TypeError: A field is of another kind.
        ValueError: A field has a wrong value, or the frames are not of that number.
    """
    if len(frames) != int(row["frames"]):
        raise ValueError(f"it has {len(frames)} images and speaks of {row['frames']} frames")
    regions = tuple(_track(region, len(frames)) for region in row["regions"])
    captions = tuple(row.get("captions") or ())
    return ClipRecord(**_head(row), frames=tuple(frames), regions=regions, captions=captions)


def row_from_record(record: ImageRecord | ClipRecord) -> dict[str, Any]:
    """The JSON object that `image_from_row` or `clip_from_row` reads."""
    width, height = record.size_wh
    row: dict[str, Any] = {
        "id": record.id, "source": record.source, "license": record.license,
        "split": record.split, "width": width, "height": height,
    }  # fmt: skip
    if isinstance(record, ClipRecord):
        tracks = [_row_of_track(track) for track in record.regions]
        captions = {"captions": list(record.captions)} if record.captions else {}
        return {**row, **captions, "frames": len(record.frames), "regions": tracks}
    regions = [_row_of_region(region) for region in record.regions]
    return {**row, "captions": list(record.captions), "regions": regions}


def xyxy_inside(xywh: Sequence[float], size_wh: tuple[int, int]) -> BoxXyxy:
    """A COCO box (left, top, width, height) cut to the image.

    Raises:
        ValueError: It is not four finite numbers, or less than a pixel of it lies in the image.
    """
    left, top, width, height = (float(value) for value in xywh)
    x1, y1 = max(0.0, left), max(0.0, top)
    x2, y2 = min(float(size_wh[0]), left + width), min(float(size_wh[1]), top + height)
    finite = all(map(math.isfinite, (left, top, width, height)))
    if not (finite and x2 - x1 >= 1 and y2 - y1 >= 1):
        raise ValueError(f"its bbox {list(xywh)} holds no pixel of the image")
    return x1, y1, x2, y2


def _head(row: Row) -> dict[str, Any]:
    return {
        "id": str(row["id"]),
        "source": str(row.get("source", "")),
        "license": str(row.get("license", "")),
        "split": str(row["split"]),
        "size_wh": (int(row["width"]), int(row["height"])),
    }


def _region(row: Row) -> RegionRecord:
    extra = _extra(row, _REGION_FIELDS)
    if "points" in extra:
        extra["points"] = _clicks(extra["points"])
    return RegionRecord(
        id=int(row["id"]),
        label=str(row["label"]),
        label_zh=row.get("label_zh"),
        box_xyxy=_box(row["box"]),
        rle=row.get("mask"),
        kind=str(row.get("kind", "instance")),
        extra=extra,
    )


def _track(row: Row, num_frames: int) -> TrackRecord:
    boxes, points, masks = (row.get(name) or {} for name in ("boxes", "points", "masks"))
    for frame in (*boxes, *points, *masks):
        if not 0 <= int(frame) < num_frames:
            raise ValueError(f"region {row['id']} names frame {frame} of {num_frames}")
    return TrackRecord(
        id=int(row["id"]),
        label=str(row["label"]),
        label_zh=row.get("label_zh"),
        boxes_xyxy={int(frame): _box(box) for frame, box in boxes.items()},
        points={int(frame): _clicks(clicks) for frame, clicks in points.items()},
        rles={int(frame): rle for frame, rle in masks.items()},
        extra=_extra(row, _TRACK_FIELDS),
    )


def _extra(row: Row, known: frozenset[str]) -> dict[str, Any]:
    extra = {key: value for key, value in row.items() if key not in known}
    if "turns" in extra:
        extra["turns"] = tuple((str(question), str(answer)) for question, answer in extra["turns"])
    for name in _LISTS & extra.keys():
        extra[name] = tuple(extra[name])
    return extra


def _box(values: Sequence[float]) -> BoxXyxy:
    x1, y1, x2, y2 = (float(value) for value in values)
    return x1, y1, x2, y2


def _clicks(rows: Sequence[Sequence[float]]) -> tuple[Click, ...]:
    return tuple((float(x), float(y), int(label)) for x, y, label in rows)


def _row_of_region(region: RegionRecord) -> dict[str, Any]:
    return {
        **region.extra, "id": region.id, "label": region.label, "label_zh": region.label_zh,
        "box": region.box_xyxy, "mask": region.rle, "kind": region.kind,
    }  # fmt: skip


def _row_of_track(track: TrackRecord) -> dict[str, Any]:
    return {
        **track.extra, "id": track.id, "label": track.label, "label_zh": track.label_zh,
        "boxes": track.boxes_xyxy, "points": track.points, "masks": track.rles,
    }  # fmt: skip
