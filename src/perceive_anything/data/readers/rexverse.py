"""Rexverse-2M: regions with short and long descriptions; pictures as text in a table.

Knows its TSV files: a line of annotations begins with the place of its picture's line.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path

from perceive_anything.data.bad_rows import MALFORMED
from perceive_anything.data.handles import Base64Range
from perceive_anything.data.readers.job import Dataset, Job
from perceive_anything.data.readers.json_rows import line_items
from perceive_anything.data.readers.pictures import UNREADABLE, picture_size_wh
from perceive_anything.data.readers.regions import region, said, xywh_of_corners
from perceive_anything.data.schema import ImageRecord

__all__ = ["DATASETS"]

# What a box may say of itself, besides a class.
_TEXTS = ("phrase", "caption", "description", "one_sentence", "referring")


def _read(job: Job) -> Iterator[ImageRecord]:
    tables = sorted(job.folder.glob("*.annotation*.tsv"))
    tables = [job.root] if job.root.is_file() else tables
    pictures = sorted(job.folder.glob("*image*.tsv"))
    if not tables or len(pictures) != 1:
        raise job.missing("table of annotations with one of pictures (parts joined)")
    for table in tables:
        for item in line_items(table):
            place = f"{table}:{item.name}"
            try:
                offset, _, written = item.value.partition(b"\t")
                name = f"{table.name.split('.')[0]}:{item.name}"
                yield _record(job, name, pictures[0], int(offset), written)
            except (*MALFORMED, *UNREADABLE) as error:
                job.bad.leave_out(place, error)


def _record(job: Job, name: str, pictures: Path, offset: int, written: bytes) -> ImageRecord:
    handle = _picture(pictures, offset)
    size_wh = picture_size_wh(handle.read())
    regions = []
    for number, row in enumerate(json.loads(written)["boxes"]):
        texts = said(text for key in _TEXTS for text in _list(row.get(key)))
        xywh = xywh_of_corners(row["bbox"])
        extra = {"phrases": texts, "caption": max(texts, key=len, default="")}
        label = str(row.get("category") or "").lower()
        regions.append(region(number, label, size_wh, xywh=xywh, extra=extra))
    if not regions:
        raise ValueError("it has no box")
    return ImageRecord(name, job.dataset.name, "", job.split, size_wh, (), tuple(regions), handle)


def _picture(path: Path, offset: int) -> Base64Range:
    """Where the base64 text of a picture lies in its line: a key, a tab and the text."""
    with path.open("rb") as stream:
        stream.seek(offset)
        line = stream.readline()
    key, tab, text = line.rstrip(b"\r\n").partition(b"\t")
    start = len(key) + len(tab)
    if text.startswith((b"b'", b'b"')):  # bytes as Python prints them
        start, text = start + 2, text[2:-1]
    base64.b64decode(text, validate=True)
    return Base64Range(str(path), offset + start, len(text))


def _list(value: object) -> list[object]:
    return value if isinstance(value, list) else [value]


DATASETS = (
    Dataset(
        "rexverse",
        "Rexverse-2M: objects with descriptions in a phrase or a sentence",
        "0_500000_image.tsv (its parts joined) and *.annotation.tsv or *.annotations.tsv",
        "https://huggingface.co/datasets/IDEA-Research/Rexverse-2M",
        "the list of files there, and the TSV format in finetuning/README.md of IDEA-"
        "Research/Rex-Omni by the same authors; what a box holds besides `phrase` is a "
        "guess; no real file was at hand",
        _read,
    ),
)
