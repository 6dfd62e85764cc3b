"""Writes records as rows of PAM-data, which the release's own code and `read_pam_data` read.

Knows the rows. What a row cannot say (names, attributes) is not written; of a mask it is the box.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import Any

from perceive_anything.data.bad_rows import MALFORMED, BadRows
from perceive_anything.data.handles import Base64Range, VideoFrame
from perceive_anything.data.readers.pam_rows import IMAGE_MARKER
from perceive_anything.data.schema import (
    BoxXyxy,
    ByteRange,
    Click,
    ClipRecord,
    ImageRecord,
    RegionRecord,
    TrackRecord,
)
from perceive_anything.errors import DataError
from perceive_anything.masks import decode_rle, mask_to_box_xyxy

__all__ = ["Texts", "known_turns", "pam_rows", "write_pam_data"]

Record = ImageRecord | ClipRecord
Texts = Callable[[RegionRecord | TrackRecord], Sequence[tuple[str, str]]]


def known_turns(region: RegionRecord | TrackRecord) -> Sequence[tuple[str, str]]:
    """The turns that stand in a record."""
    turns: Sequence[tuple[str, str]] = region.extra.get("turns", ())
    return turns


def write_pam_data(
    records: Iterable[Record],
    path: str | Path,
    *,
    turns: Texts = known_turns,
    max_bad: int = 0,
    report: Callable[[str], None] = print,
) -> int:
    """Write a row for every turn of every region.

    A row has `type`, `image` or `image_root` and `frames`, `conversations`, `bbox`, `points`,
    `labels`, `masked_frames`, and `obj_id` where it is known.

    Pictures are named from the folder of the file, or in full where they lie elsewhere. A further
    field `record` keeps id, source, licence and split of the record; with it, records that were
    read from rows are equal after they were written and read again.

    Args:
        records: What to write, taken one by one.
        path: A JSONL file; what was there is replaced when all is written.
        turns: Questions (without the image marker) and answers of a region; those that stand in
            its record by default.
        max_bad: Regions without turns, and records whose pictures are no files of their own, that
            may be left out; each is reported.
        report: Where lines about them go.

    Returns:
        The number of rows.

    Raises:
        DataError: The file cannot be written, there is no row, or too much is left out.
    """
    target, count = Path(path), 0
    bad = BadRows(max_bad, report, "Expected regions with turns, and pictures in files.")
    unfinished = target.with_name(f"{target.name}.{os.getpid()}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with unfinished.open("w", encoding="utf-8") as stream:
            for record in records:
                for row in pam_rows(record, target.parent, turns, bad):
                    stream.write(row)
                    count += 1
        if not count:
            raise DataError(
                "there is no row to write.\n  Give records whose regions have turns.",
                code="bad_record",
            )
        unfinished.replace(target)
    except OSError as error:
        raise DataError(
            f'"{target}" cannot be written: {error}.\n  Give a path in a folder you may write to.',
            code="out_unwritable",
        ) from error
    finally:
        with suppress(OSError):
            unfinished.unlink()
    return count


def pam_rows(record: Record, folder: Path, turns: Texts, bad: BadRows) -> Iterator[str]:
    """The lines of one record, see `write_pam_data`.

    Args:
        record: The record.
        folder: Of the file that the lines are for.
        turns: Questions and answers of a region.
        bad: Is told of regions and records that cannot be rows.
    """
    folder = folder.resolve()
    try:
        head = _of_clip(record, folder) if isinstance(record, ClipRecord) else _of_image(
            record, folder
        )  # fmt: skip
    except MALFORMED as error:
        bad.leave_out(f'record "{record.id}"', error)
        return
    origin = {"id": record.id, "source": record.source}
    origin |= {"license": record.license, "split": record.split}
    for region in record.regions:
        place = f'record "{record.id}", region {region.id}'
        texts = turns(region)
        if not texts:
            bad.leave_out(place, "it has no turns")
        try:
            prompts = (
                _track_prompts(region, record) if isinstance(region, TrackRecord)
                else _prompts(region)
            )  # fmt: skip
            rows = [{"conversations": _conversation(*turn), **prompts} for turn in texts]
        except MALFORMED as error:
            bad.leave_out(place, error)
            continue
        own = {key: region.extra[key] for key in ("obj_id",) if key in region.extra}
        for row in rows:
            whole = {**head, **row, **own, "record": origin}
            yield json.dumps(whole, ensure_ascii=False) + "\n"


def _of_image(record: ImageRecord, folder: Path) -> dict[str, Any]:
    return {"type": "image", "image": _name(record.handle, folder)}


def _of_clip(record: Record, folder: Path) -> dict[str, Any]:
    assert isinstance(record, ClipRecord)
    names = [PurePosixPath(_name(frame, folder)) for frame in record.frames]
    root = PurePosixPath(os.path.commonpath([name.parent for name in names]))
    frames = [name.relative_to(root).as_posix() for name in names]
    return {"type": "video", "image_root": root.as_posix(), "frames": frames}


def _name(handle: ByteRange, folder: Path) -> str:
    """The file of a picture, from the folder of the rows if it lies below."""
    if isinstance(handle, (Base64Range, VideoFrame)) or handle.offset or handle.size is not None:
        raise ValueError("its pictures are no files of their own; write it as shards, or unpack it")
    file = Path(handle.path).resolve()
    return (file.relative_to(folder) if file.is_relative_to(folder) else file).as_posix()


def _conversation(question: str, answer: str) -> list[dict[str, str]]:
    if IMAGE_MARKER in question:
        raise ValueError(f"a question holds {IMAGE_MARKER}")
    if not (question.strip() and answer.strip()):
        raise ValueError("a text is empty")
    return [
        {"from": "human", "value": f"{IMAGE_MARKER}\n{question}"},
        {"from": "gpt", "value": answer},
    ]


def _prompts(region: RegionRecord | TrackRecord) -> dict[str, Any]:
    assert isinstance(region, RegionRecord)
    clicks: Sequence[Click] = region.extra.get("points", ())
    bbox = None if region.extra.get("points_only") else _xywh(region.box_xyxy)
    return {"bbox": bbox, **_clicks([clicks] if clicks else [], single=True)}


def _track_prompts(region: TrackRecord, record: Record) -> dict[str, Any]:
    """One box and one list of points for each frame that has either; nothing is four zeros."""
    assert isinstance(record, ClipRecord)
    known = {**_boxes_of_masks(region), **region.boxes_xyxy}
    frames = sorted({*known, *region.points})
    if not frames:
        raise ValueError("no frame has a box, a click or a mask")
    stems = [PurePosixPath(frame.path).stem for frame in record.frames]
    names = [PurePosixPath(record.frames[frame].path).name for frame in frames]
    boxes = [_box_or_zeros(known, frame) for frame in frames]
    points = [region.points.get(frame, ()) for frame in frames] if region.points else []
    return {
        "masked_frames": names if len(set(stems)) == len(stems) else frames,
        "bbox": boxes if known else None,
        **_clicks(points, single=False),
    }


def _boxes_of_masks(region: TrackRecord) -> dict[int, BoxXyxy]:
    found = {f: mask_to_box_xyxy(decode_rle(dict(rle))) for f, rle in region.rles.items()}
    return {frame: tuple(map(float, box)) for frame, box in found.items() if box}  # type: ignore[misc]


def _box_or_zeros(boxes: Mapping[int, BoxXyxy], frame: int) -> list[float]:
    return _xywh(boxes[frame]) if frame in boxes else [0, 0, 0, 0]


def _clicks(of_frames: Sequence[Sequence[Click]], *, single: bool) -> dict[str, Any]:
    points = [[[x, y] for x, y, _ in clicks] for clicks in of_frames]
    labels = [[label for _, _, label in clicks] for clicks in of_frames]
    if not points:
        return {"points": None, "labels": None}
    return {"points": points[0] if single else points, "labels": labels[0] if single else labels}


def _xywh(box_xyxy: BoxXyxy) -> list[float]:
    x1, y1, x2, y2 = box_xyxy
    return [x1, y1, _length(x1, x2), _length(y1, y2)]


def _length(start: float, end: float) -> float:
    """What added to the start is the end exactly, which a row's own box always has."""
    length = end - start
    near = (length, math.nextafter(length, math.inf), math.nextafter(length, -math.inf))
    return next((each for each in near if start + each == end), length)
