"""Storyboards: six key frames of an object, chosen by visibility and change, on a 2 x 3 board.

Knows clips and pictures. Refuses to know words; only numbers and times are written.
"""

from __future__ import annotations

import numpy as np
from PIL import Image

from perceive_anything.data.schema import BoxXyxy, ClipRecord, TrackRecord
from perceive_anything.engine.jobs import pixels_of
from perceive_anything.engine.marks import Target, marked
from perceive_anything.masks import decode_rle, mask_to_box_xyxy

PANELS, COLUMNS, GAP_PX = 6, 3, 6
CANDIDATES = 48  # frames that are looked at
THUMB_PX = 8
WEIGHTS = {"place": 2.0, "size": 1.0, "look": 1.5, "time": 1.0}


def box_on(track: TrackRecord, frame: int) -> BoxXyxy | None:
    """The object's box on a frame, from its mask or clicks where no box is known; None if away."""
    if frame in track.boxes_xyxy:
        return track.boxes_xyxy[frame]
    if frame in track.rles:
        found = mask_to_box_xyxy(decode_rle(track.rles[frame]))
        return tuple(map(float, found)) if found else None  # type: ignore[return-value]
    inside = [(x, y) for x, y, label in track.points.get(frame, ()) if label]
    if not inside:
        return None
    xs, ys = zip(*inside, strict=True)
    return min(xs) - 4, min(ys) - 4, max(xs) + 4, max(ys) + 4


def visible_frames(track: TrackRecord, num_frames: int) -> list[int]:
    """The frames on which something is known of the object."""
    known = {*track.boxes_xyxy, *track.points, *track.rles}
    return [frame for frame in sorted(known) if frame < num_frames and box_on(track, frame)]


def key_frames(record: ClipRecord, track: TrackRecord, count: int = PANELS) -> list[int]:
    """Frames that show the object well and differ from each other, in order of time.

    The best seen frame is the first choice; each further one is that which is farthest, in place,
    size, look and time, from all chosen ones, times how well the object is seen on it.

    Args:
        record: The clip.
        track: The object.
        count: How many, at most.
    """
    frames = visible_frames(track, len(record.frames))
    if len(frames) > CANDIDATES:
        places = np.linspace(0, len(frames) - 1, CANDIDATES).round().astype(int)
        frames = [frames[place] for place in places]
    if len(frames) <= count:
        return frames
    sizes = np.array([_area(box_on(track, frame)) for frame in frames])
    seen = np.clip(sizes / max(1.0, float(np.quantile(sizes, 0.9))), 0.05, 1.0) ** 0.5
    features = np.array([_features(record, track, frame) for frame in frames])
    chosen = [int(np.argmax(seen))]
    distance = np.full(len(frames), np.inf)
    while len(chosen) < count:
        distance = np.minimum(distance, np.linalg.norm(features - features[chosen[-1]], axis=1))
        chosen.append(int(np.argmax(distance * seen)))
    return sorted(frames[place] for place in set(chosen))


def storyboard(
    record: ClipRecord,
    track: TrackRecord,
    frames: list[int],
    fps: float,
    panel_px: int,
    start_s: float = 0.0,
) -> Image.Image:
    """The frames on one board, the object marked in each; empty panels stay grey.

    Args:
        record: The clip.
        track: The object.
        frames: At most six, in order of time.
        fps: Frames a second.
        panel_px: Longest side of a panel.
        start_s: Time of frame 0.
    """
    panels = [
        _panel(record, track, frame, f"{number}  {start_s + frame / fps:.1f} s", panel_px)
        for number, frame in enumerate(frames[:PANELS], start=1)
    ]
    width, height = panels[0].size if panels else (panel_px, panel_px)
    columns = min(COLUMNS, max(1, len(panels)))
    rows = -(-max(1, len(panels)) // columns)
    whole = (columns * (width + GAP_PX) - GAP_PX, rows * (height + GAP_PX) - GAP_PX)
    board = Image.new("RGB", whole, (70, 70, 70))
    for place, panel in enumerate(panels):
        row, column = divmod(place, columns)
        board.paste(panel, (column * (width + GAP_PX), row * (height + GAP_PX)))
    return board


def _panel(
    record: ClipRecord, track: TrackRecord, frame: int, tag: str, panel_px: int
) -> Image.Image:
    rle = track.rles.get(frame)
    target = Target(box_on(track, frame), decode_rle(rle) if rle else None)
    return marked(pixels_of(record.frames[frame]), target, tag, panel_px, corner=True)


def _features(record: ClipRecord, track: TrackRecord, frame: int) -> np.ndarray:
    """What a frame is compared by: place, size, a thumbnail of the object, time."""
    x1, y1, x2, y2 = box_on(track, frame) or (0, 0, 1, 1)
    width, height = record.size_wh
    image = Image.fromarray(pixels_of(record.frames[frame]))
    part = image.crop((int(x1), int(y1), max(int(x1) + 1, int(x2)), max(int(y1) + 1, int(y2))))
    share = max(1.0, (x2 - x1) * (y2 - y1)) / (width * height)
    look = np.asarray(part.resize((THUMB_PX, THUMB_PX)), np.float32).ravel() / 255
    return np.concatenate([
        WEIGHTS["place"] * np.array([(x1 + x2) / 2 / width, (y1 + y2) / 2 / height]),
        WEIGHTS["size"] * np.array([np.log(share) / 4]),
        WEIGHTS["look"] * look / np.sqrt(len(look)),
        WEIGHTS["time"] * np.array([frame / len(record.frames)]),
    ])  # fmt: skip


def _area(box_xyxy: BoxXyxy | None) -> float:
    x1, y1, x2, y2 = box_xyxy or (0, 0, 0, 0)
    return (x2 - x1) * (y2 - y1)
