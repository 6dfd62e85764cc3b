"""Rows of PAM-data as regions: one object of an image or clip, its prompts and its texts.

Knows a row as parsed JSON and the size of its image. Refuses to know files.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from perceive_anything.data.readers.regions import box_around
from perceive_anything.data.rows import Row, xyxy_inside
from perceive_anything.data.schema import BoxXyxy, Click, RegionRecord, TrackRecord

__all__ = ["Prompted", "frame_names", "image_name", "region_of", "track_of", "turns_of"]

IMAGE_MARKER = "<image>"
Turn = tuple[str, str]


@dataclass(slots=True)
class Prompted:
    """One object: its prompts by frame (an image has frame 0 alone) and its texts."""

    boxes: dict[int, BoxXyxy]
    points: dict[int, tuple[Click, ...]]
    extra: dict[str, object]
    turns: dict[Turn, None] = field(default_factory=dict)

    def region(self, number: int) -> RegionRecord:
        """The object as a region of an image."""
        points = {"points": self.points[0]} if self.points else {}
        extra = {**self.extra, **points, "turns": tuple(self.turns)}
        return RegionRecord(number, "", None, self.boxes[0], None, "instance", extra)

    def track(self, number: int) -> TrackRecord:
        """The object as a region of a clip."""
        extra = {**self.extra, "turns": tuple(self.turns)}
        return TrackRecord(number, "", None, self.boxes, self.points, {}, extra)


def image_name(row: Row) -> str:
    """The file of an image's row, as it is written."""
    names = row["image"] if isinstance(row["image"], list) else [row["image"]]
    if len(names) != 1:
        raise ValueError(f"it has {len(names)} images where one is expected")
    return str(names[0])


def frame_names(row: Row) -> list[str]:
    """The files of a clip's row, as they are written."""
    if not isinstance(row["frames"], list) or not row["frames"]:
        raise ValueError("its frames are no list of names")
    return [str(PurePosixPath(row["image_root"]) / str(frame)) for frame in row["frames"]]


def turns_of(conversations: Sequence[Row]) -> list[Turn]:
    """Questions, without the image marker, and answers.

    Raises:
        KeyError: A turn lacks `from` or `value`.
        ValueError: People and model do not speak in turn, or a text is empty.
    """
    speakers = [turn["from"] for turn in conversations]
    if not speakers or speakers != ["human", "gpt"] * (len(speakers) // 2):
        raise ValueError(f"its conversations are from {speakers}, not from human and gpt in turn")
    said = [turn["value"] for turn in conversations]
    if not all(isinstance(text, str) for text in said):
        raise ValueError("a value of its conversations is no text")
    questions, answers = map(_question, said[::2]), map(str.strip, said[1::2])
    turns = list(zip(questions, answers, strict=True))
    if not all(text.strip() for turn in turns for text in turn):
        raise ValueError("a text of its conversations is empty")
    return turns


def _question(text: str) -> str:
    before, _, after = text.partition(IMAGE_MARKER)
    if IMAGE_MARKER in after:
        raise ValueError(f"a question holds {IMAGE_MARKER} more than once")
    if before == text:
        return text
    return f"{before}{after}".strip() if before.strip() else after.removeprefix("\n")


def region_of(row: Row, size_wh: tuple[int, int]) -> Prompted:
    """The object of an image's row.

    Raises:
        TypeError: A prompt is of another kind.
        ValueError: It has no prompt, or one that does not fit the image.
    """
    bbox, extra = row.get("bbox"), _kept(row)
    if bbox and isinstance(bbox[0], list):
        (bbox,) = bbox
    clicks = _clicks(row.get("points"), row.get("labels"), size_wh)
    if not bbox:
        extra["points_only"] = True
    box_xyxy = xyxy_inside(bbox, size_wh) if bbox else box_around(clicks, size_wh)
    return Prompted({0: box_xyxy}, {0: clicks} if clicks else {}, extra)


def track_of(row: Row, size_wh: tuple[int, int]) -> Prompted:
    """The object of a clip's row; on frames without a box and a click it is hidden or unknown.

    Raises:
        TypeError: A prompt is of another kind.
        ValueError: It has no prompt, one that does not fit the frames, or it cannot be told which
            frames they belong to.
    """
    bboxes, points, labels = (row.get(name) or [] for name in ("bbox", "points", "labels"))
    count = len(bboxes or points)
    if not count:
        raise ValueError("it has neither bbox nor points")
    for name, values in (("bbox", bboxes), ("points", points), ("labels", labels)):
        if values and len(values) != count:
            raise ValueError(f"it has {len(values)} {name} for {count} frames")
    frames = _masked_frames(row.get("masked_frames"), row["frames"], count)
    boxes = {
        frame: xyxy_inside(bbox, size_wh)
        for frame, bbox in zip(frames, bboxes, strict=False)
        if bbox and any(bbox[2:])
    }
    pairs = zip(frames, points, labels or [None] * len(points), strict=False)
    clicks = {frame: _clicks(xy, marks, size_wh) for frame, xy, marks in pairs if xy}
    if not boxes and not clicks:
        raise ValueError("it has no bbox and no point on any frame")
    return Prompted(boxes, clicks, _kept(row))


def _kept(row: Row) -> dict[str, object]:
    return {"obj_id": row["obj_id"]} if row.get("obj_id") is not None else {}


def _clicks(
    points: Sequence[Sequence[float]] | None,
    labels: Sequence[int] | None,
    size_wh: tuple[int, int],
) -> tuple[Click, ...]:
    if not points:
        return ()
    if labels is None or len(labels) != len(points) or not set(labels) <= {0, 1}:
        raise ValueError(f"its labels {labels} are not one 1 or 0 for each of {len(points)} points")
    clicks = tuple(
        (float(x), float(y), int(label)) for (x, y), label in zip(points, labels, strict=True)
    )
    for x, y, _ in clicks:
        if not (0 <= x <= size_wh[0] and 0 <= y <= size_wh[1]):
            raise ValueError(f"its point {x:g}, {y:g} lies outside the {size_wh} image")
    return clicks


def _masked_frames(named: Sequence[object] | None, frames: Sequence[str], count: int) -> list[int]:
    """Which frames the prompts belong to, see `read_pam_data`."""
    if named is None:
        if count not in (1, len(frames)):
            raise ValueError(f"{count} prompts for {len(frames)} frames and no masked_frames")
        return list(range(count))
    if len(named) != count:
        raise ValueError(f"{count} prompts for {len(named)} masked_frames")
    stems = [PurePosixPath(frame).stem for frame in frames]
    if all(isinstance(name, str) for name in named):
        readings = [_places([PurePosixPath(str(name)).stem for name in named], stems)]
    else:
        numbers = [int(stem) if stem.isdecimal() else stem for stem in stems]
        readings = [_places(named, numbers), _places(named, range(len(frames)))]
    found = {tuple(reading) for reading in readings if reading}
    if len(found) > 1:
        found = {reading for reading in found if reading[0] == 0}
    if len(found) != 1:
        raise ValueError(f"its masked_frames {list(named)} do not tell which frames they are")
    return list(found.pop())


def _places(wanted: Sequence[object], known: Sequence[object]) -> list[int] | None:
    """Where each wanted value stands among different known ones; None if one does not."""
    place_of = {value: place for place, value in enumerate(known)}
    places = [place_of.get(value) for value in wanted]
    if None in places or len(set(places)) != len(places) or len(place_of) != len(known):
        return None
    return [place for place in places if place is not None]
