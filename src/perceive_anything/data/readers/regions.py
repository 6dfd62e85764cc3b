"""Regions and tracks from the shapes that annotations use: boxes, polygons, RLE, clicks.

Knows geometry and the schema; nothing of files and formats.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from perceive_anything.data.rows import xyxy_inside
from perceive_anything.data.schema import BoxXyxy, Click, ClipRecord, RegionRecord, TrackRecord
from perceive_anything.masks import rle_to_box_xyxy, segmentation_to_rle, union_rle

__all__ = [
    "Outline",
    "box_around",
    "clip",
    "group_region",
    "plain_name",
    "region",
    "said",
    "track",
    "xywh_of_corners",
]

Outline = Mapping[str, Any] | Sequence[Sequence[float]]


def region(
    number: int,
    label: str,
    size_wh: tuple[int, int],
    *,
    xywh: Sequence[float] | None = None,
    outline: Outline | None = None,
    clicks: Sequence[Click] = (),
    kind: str = "instance",
    label_zh: str | None = None,
    extra: Mapping[str, Any] | None = None,
) -> RegionRecord:
    """A region of whatever is known; without a box, it gets that of its mask or clicks.

    Args:
        number: Its number within the image.
        label: Its name.
        size_wh: Size of the image.
        xywh: Box as left, top, width, height.
        outline: COCO polygons or RLE of the image's size.
        clicks: Points.
        kind: As in `RegionRecord`.
        label_zh: Chinese name.
        extra: Fields to keep; those that are None, empty texts or empty tuples are dropped.

    Raises:
        ValueError: The shape does not fit the image, or there is none.
    """
    rle = _rle(outline, size_wh) if outline else None
    kept = {key: value for key, value in (extra or {}).items() if value not in (None, "", ())}
    if clicks:
        kept["points"] = tuple(clicks)
    tight = rle_to_box_xyxy(rle) if rle else None
    if xywh is not None:
        box_xyxy = xyxy_inside(xywh, size_wh)
    elif tight:
        box_xyxy = tight
    else:
        box_xyxy, kept["points_only"] = box_around(clicks, size_wh), True
    return RegionRecord(number, label, label_zh, box_xyxy, rle if tight else None, kind, kept)


def group_region(number: int, members: Sequence[RegionRecord]) -> RegionRecord:
    """Several regions of one image as one; it has a mask if all of them do, a name if one."""
    labels = {member.label for member in members}
    rles = [member.rle for member in members if member.rle is not None]
    corners = list(zip(*(member.box_xyxy for member in members), strict=True))
    box_xyxy = (min(corners[0]), min(corners[1]), max(corners[2]), max(corners[3]))
    return RegionRecord(
        number,
        labels.pop() if len(labels) == 1 else "",
        None,
        box_xyxy,
        union_rle(rles) if len(rles) == len(members) else None,
        "group",
    )


def track(
    number: int,
    label: str,
    film_size_wh: tuple[int, int],
    *,
    xywh: Mapping[int, Sequence[float]] | None = None,
    outlines: Mapping[int, Outline] | None = None,
    extra: Mapping[str, Any] | None = None,
) -> TrackRecord:
    """A track of boxes or of masks by frame; a frame with an empty mask has neither.

    Raises:
        ValueError: A shape does not fit the frames, or there is none on any frame.
    """
    boxes: dict[int, BoxXyxy] = {}
    rles = {}
    for frame, box in (xywh or {}).items():
        boxes[frame] = xyxy_inside(box, film_size_wh)
    for frame, outline in (outlines or {}).items():
        rle = _rle(outline, film_size_wh)
        tight = rle_to_box_xyxy(rle)
        if tight:
            rles[frame] = rle
            boxes.setdefault(frame, tight)
    if not boxes:
        raise ValueError("it is on no frame")
    kept = {key: value for key, value in (extra or {}).items() if value not in (None, "", ())}
    return TrackRecord(number, label, None, boxes, {}, rles, kept)


def clip(
    name: str,
    source: str,
    split: str,
    film_size_wh: tuple[int, int],
    frames: Sequence[Any],
    tracks: Sequence[TrackRecord],
    captions: Iterable[str] = (),
) -> ClipRecord:
    """A clip whose tracks lie within its frames.

    Raises:
        ValueError: One does not.
    """
    for each in tracks:
        for frame in (*each.boxes_xyxy, *each.rles):
            if not 0 <= frame < len(frames):
                raise ValueError(f"region {each.id} is on frame {frame} of {len(frames)}")
    return ClipRecord(
        name, source, "", split, film_size_wh, tuple(frames), tuple(tracks), tuple(captions)
    )


def box_around(clicks: Sequence[Click], size_wh: tuple[int, int]) -> BoxXyxy:
    """The smallest box around the clicks inside, at least a pixel wide and high.

    Raises:
        ValueError: There is none.
    """
    inside = [(min(x, size_wh[0] - 1), min(y, size_wh[1] - 1)) for x, y, label in clicks if label]
    if not inside:
        raise ValueError("it has neither bbox nor a point with label 1")
    xs, ys = zip(*inside, strict=True)
    return min(xs), min(ys), max(*xs, min(xs) + 1), max(*ys, min(ys) + 1)


def xywh_of_corners(corners: Sequence[float]) -> tuple[float, float, float, float]:
    """Left, top, right, bottom as left, top, width, height."""
    left, top, right, bottom = (float(value) for value in corners)
    return left, top, right - left, bottom - top


def plain_name(name: object) -> str:
    """A category as a person would write it: lower case, no underscores."""
    return str(name).replace("_", " ").strip().lower()


def said(texts: Iterable[object]) -> tuple[str, ...]:
    """Texts without blanks around them, without empty ones, each once."""
    return tuple(dict.fromkeys(text for each in texts if (text := str(each or "").strip())))


def _rle(outline: Outline, size_wh: tuple[int, int]) -> dict[str, Any]:
    if not isinstance(outline, Mapping):
        short = [polygon for polygon in outline if len(polygon) < 6 or len(polygon) % 2]
        if short:
            raise ValueError(f"a polygon has {len(short[0])} numbers, not x and y of 3 points")
    return segmentation_to_rle(outline, size_wh[::-1])
