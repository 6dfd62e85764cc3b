"""Conversations about marked regions: Osprey-724K and the data and bench of MDVP.

Knows how texts refer to regions. What is said of one region becomes its `turns`; what is said of
several together is kept with the first, as `joint`, and nobody learns it by mistake.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from perceive_anything.data.bad_rows import MALFORMED
from perceive_anything.data.readers.job import Dataset, Job
from perceive_anything.data.readers.json_rows import json_rows
from perceive_anything.data.readers.pam_rows import turns_of
from perceive_anything.data.readers.pictures import UNREADABLE, Finder, picture_size_wh
from perceive_anything.data.readers.regions import region
from perceive_anything.data.schema import ByteRange, ImageRecord, RegionRecord

__all__ = ["DATASETS"]

Row = Mapping[str, Any]
Turn = tuple[str, str]
_TAG = re.compile(r"<\s*(?:region|mark)\s*(\d+)\s*>", re.IGNORECASE)
_ANSWER = re.compile(rf"{_TAG.pattern}\s*:\s*(.*?)\s*(?={_TAG.pattern}\s*:|\Z)", re.I | re.S)
MARKED = "the marked region"


def _read(job: Job, folders: Sequence[str] = ()) -> Iterator[ImageRecord]:
    files = [job.root] if job.root.is_file() else _files(job)
    finder = Finder([job.folder, *job.paths("images", *folders)])
    for path in files:
        near = Finder([path.parent / "images", path.parent, *finder.folders])
        for number, (place, written) in enumerate(json_rows(path)):
            try:
                row = json.loads(written) if isinstance(written, bytes) else written
                file = near.find(*_names(row))
                size_wh = picture_size_wh(file)
                regions = _regions(row, size_wh)
            except (*MALFORMED, *UNREADABLE) as error:
                job.bad.leave_out(place, error)
                continue
            yield ImageRecord(
                f"{path.stem}:{number}", job.dataset.name, "", job.split, size_wh, (), regions,
                ByteRange(str(file)),
            )  # fmt: skip


def _files(job: Job) -> list[Path]:
    found = sorted(path for path in job.root.rglob("*.json*") if path.suffix in (".json", ".jsonl"))
    if not found:
        raise job.missing("*.json or *.jsonl")
    return found


def _names(row: Row) -> list[str]:
    """Names a picture may go by; Osprey's may begin with the name of COCO's set."""
    names = [str(row[key]) for key in ("image", "image_name", "file_name") if row.get(key)]
    return [*names, *(name.rpartition("_")[2] for name in names)]


def _regions(row: Row, size_wh: tuple[int, int]) -> tuple[RegionRecord, ...]:
    shapes = _shapes(row)
    if not shapes:
        raise ValueError("it marks no region")
    turns = _turns(row)
    texts, joint = _by_region(turns, len(shapes))
    for number, text in enumerate(row.get("description") or ()):
        texts[number].append(("Describe the marked region in detail.", _bare(str(text))))
    if not joint and not any(texts):
        raise ValueError("it says nothing of its regions")
    shared = [tuple(joint)] + [()] * (len(shapes) - 1)
    said = [
        {"turns": tuple(own), "joint": of_all} for own, of_all in zip(texts, shared, strict=True)
    ]
    return tuple(
        region(number, "", size_wh, **shape, extra=said[number])
        for number, shape in enumerate(shapes)
    )


def _shapes(row: Row) -> list[dict[str, Any]]:
    """What marks each region, as `regions.region` takes it."""
    if "annotation" in row:  # Osprey
        return [
            {"xywh": each.get("bbox"), "outline": each.get("segmentation")}
            for each in row["annotation"]
        ]
    if row.get("bbox"):
        return [{"xywh": xywh} for xywh in row["bbox"]]
    return [{"clicks": ((float(x), float(y), 1),)} for x, y, *_ in row.get("points") or ()]


def _turns(row: Row) -> list[Turn]:
    if "question" in row:  # the bench
        return [(str(row["question"]), str(row["answer"]))]
    conversation = row.get("conversations")
    return turns_of(conversation) if conversation else []


def _by_region(turns: Sequence[Turn], count: int) -> tuple[list[list[Turn]], list[Turn]]:
    """Turns of each region, and those of several together."""
    texts: list[list[Turn]] = [[] for _ in range(count)]
    joint: list[Turn] = []
    for question, answer in turns:
        if count == 1:
            texts[0].append((_bare(question), _bare(answer)))
            continue
        parts = {int(match[1]): match[2] for match in _ANSWER.finditer(answer)}
        mentioned = {int(number) for number in _TAG.findall(question + answer)}
        if parts.keys() == set(range(1, count + 1)) and not _TAG.search(" ".join(parts.values())):
            general = _TAG.sub(MARKED, question)
            for number, part in parts.items():
                texts[number - 1].append((general, part))
        elif len(mentioned) == 1 and 1 <= min(mentioned) <= count:
            texts[min(mentioned) - 1].append((_bare(question), _bare(answer)))
        else:
            joint.append((question, answer))
    return texts, joint


def _bare(text: str) -> str:
    """A text about the one region it is about: no number in front of it, none within."""
    head = _TAG.match(text)
    if head and text[head.end() :].lstrip().startswith(":"):
        text = text[head.end() :].lstrip().removeprefix(":")
    return _TAG.sub(MARKED, text).strip()


def _read_osprey(job: Job) -> Iterator[ImageRecord]:
    return _read(job, ("train2017", "coco/train2017", "imgs", "coco/imgs"))


DATASETS = (
    Dataset(
        "osprey",
        "Osprey-724K: conversations about masks, on pictures of COCO",
        "osprey_*.json and train2017/",
        "https://huggingface.co/datasets/AntGroup-MI/Osprey-724K",
        "osprey/datasets/osprey_724k.py of CircleRadon/Osprey; no real file was at hand",
        _read_osprey,
    ),
    Dataset(
        "mdvp",
        "MDVP-Data and MDVP-Bench: conversations about boxes and points, many kinds of pictures",
        "*.json or *.jsonl and their pictures, there or in images/",
        "https://huggingface.co/datasets/Afeng-x/Draw-and-Understand",
        "the loaders in accessory/data/conversation and accessory/eval/MDVP-Bench of "
        "AFeng-x/Draw-and-Understand; no real file was at hand",
        _read,
    ),
)
