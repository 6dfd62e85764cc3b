"""What an object does, measured: where it is, where it moves, when it is out of sight.

Knows boxes over time and a few sentences in both languages. Refuses to know pixels and teachers.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from perceive_anything.data.grammar import is_plural, noun_phrase
from perceive_anything.data.knowledge import knowledge
from perceive_anything.data.schema import (  # fmt: skip
    BoxXyxy,
    ByteRange,
    ClipRecord,
    ImageRecord,
    RegionRecord,
    TrackRecord,
)
from perceive_anything.engine.storyboard import box_on, visible_frames

MIN_AWAY_S = 0.25  # a shorter absence is not spoken of
STEP, GROWTH = 0.1, 1.4  # of the picture, and of the area, that count as a change


@dataclass(frozen=True, slots=True)
class Span:
    """Frames `first` to `last`, both included, on which the object is there, or is not."""

    first: int
    last: int
    visible: bool


def spans_of(track: TrackRecord, num_frames: int, fps: float) -> list[Span]:
    """When an object is visible; absences of less than a quarter of a second are overlooked."""
    seen = set(visible_frames(track, num_frames))
    spans: list[Span] = []
    for frame in range(num_frames):
        visible = frame in seen
        if spans and spans[-1].visible == visible:
            spans[-1] = replace(spans[-1], last=frame)
        else:
            spans.append(Span(frame, frame, visible))
    longest = MIN_AWAY_S * fps
    kept: list[Span] = []
    for span in spans:
        short = not span.visible and span.last - span.first + 1 < longest and len(spans) > 1
        span = replace(span, visible=span.visible or short)
        if kept and kept[-1].visible == span.visible:
            kept[-1] = replace(kept[-1], last=span.last)
        else:
            kept.append(span)
    return kept


def story_of(
    track: TrackRecord, num_frames: int, size_wh: tuple[int, int], fps: float, start_s: float = 0.0
) -> dict[str, str]:
    """What the object does, by language.

    Args:
        track: The object.
        num_frames: Of the clip.
        size_wh: Of its frames in pixels.
        fps: Frames a second.
        start_s: Time of frame 0.
    """
    label = track.label or "object"
    name_zh = track.label_zh or knowledge()["names_zh"].get(label, "目标")
    be = "are" if is_plural(label) else "is"
    english, chinese = [], []
    for number, span in enumerate(spans_of(track, num_frames, fps)):
        first_s, last_s = start_s + span.first / fps, start_s + (span.last + 1) / fps
        if not span.visible:
            english.append(f"{be} out of sight from {first_s:.1f} s to {last_s:.1f} s")
            chinese.append(f"{first_s:.1f} 秒到 {last_s:.1f} 秒不可见")
            continue
        told, told_zh = _motion(track, span, size_wh, be)
        english.append(f"{told} again" if number and "stays" not in told else told)
        chinese.append(f"再次出现并{told_zh}" if number else told_zh)
    noun = noun_phrase(label)
    return {
        "en": f"{noun[0].upper()}{noun[1:]} {', then '.join(english)}.",
        "zh": f"{name_zh}{'，随后'.join(chinese)}。",
    }


def best_view(record: ClipRecord, track: TrackRecord) -> tuple[ImageRecord, RegionRecord]:
    """The frame on which the object is largest, as a picture with one region."""
    frames = visible_frames(track, len(record.frames))
    boxes = {frame: box_on(track, frame) for frame in frames}
    best = max(frames, key=lambda frame: _area(boxes[frame]), default=0)
    width, height = map(float, record.size_wh)
    box_xyxy: BoxXyxy = boxes.get(best) or (0.0, 0.0, width, height)
    region = RegionRecord(
        track.id, track.label, track.label_zh, box_xyxy, track.rles.get(best), "instance"
    )
    handle: ByteRange = record.frames[best]
    image = ImageRecord(
        record.id,
        record.source,
        record.license,
        record.split,
        record.size_wh,
        (),
        (region,),
        handle,
    )
    return image, region


def _motion(track: TrackRecord, span: Span, size_wh: tuple[int, int], be: str) -> tuple[str, str]:
    frames = [f for f in range(span.first, span.last + 1) if box_on(track, f)]
    (start, start_zh), (end, end_zh) = (
        knowledge()["positions"][_position(box_on(track, frame), size_wh)]
        for frame in (frames[0], frames[-1])
    )
    way = [_centre(box_on(track, frame), size_wh) for frame in (frames[0], frames[-1])]
    moved = max(abs(a - b) for a, b in zip(*way, strict=True)) >= STEP
    areas = [_area(box_on(track, frame)) for frame in (frames[0], frames[-1])]
    if moved and start != end:
        return (
            f"{be} first {start} and moves until it {be} {end}",
            f"先在{start_zh}，再移到{end_zh}",
        )
    if moved:
        return f"{be} {start} and moves about there", f"在{start_zh}移动"
    if areas[1] > GROWTH * areas[0]:
        return f"{be} {start} and comes nearer", f"在{start_zh}并逐渐靠近"
    if areas[0] > GROWTH * areas[1]:
        return f"{be} {start} and gets smaller", f"在{start_zh}并逐渐变小"
    return f"{be} {start} and stays there", f"停留在{start_zh}"


def _centre(box_xyxy: BoxXyxy | None, size_wh: tuple[int, int]) -> tuple[float, float]:
    x1, y1, x2, y2 = box_xyxy or (0, 0, 0, 0)
    return (x1 + x2) / 2 / size_wh[0], (y1 + y2) / 2 / size_wh[1]


def _position(box_xyxy: BoxXyxy | None, size_wh: tuple[int, int]) -> str:
    """As `RegionContext.position`: a third each way."""
    x, y = _centre(box_xyxy, size_wh)
    column = "left" if x < 0.36 else "right" if x > 0.64 else ""
    row = "top" if y < 0.36 else "bottom" if y > 0.64 else ""
    return f"{row} {column}".strip() or "center"


def _area(box_xyxy: BoxXyxy | None) -> float:
    x1, y1, x2, y2 = box_xyxy or (0, 0, 0, 0)
    return (x2 - x1) * (y2 - y1)
