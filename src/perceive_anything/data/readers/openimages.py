"""OpenImages: boxes and masks of 600 classes, in CSV tables.

Knows the tables and where pictures and masks lie. They are read row by row; of the rows only
places are held.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from functools import partial
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from perceive_anything.data.bad_rows import MALFORMED
from perceive_anything.data.readers.job import Dataset, Job
from perceive_anything.data.readers.json_rows import RowIndex, line_items
from perceive_anything.data.readers.pictures import UNREADABLE, Finder, picture_size_wh
from perceive_anything.data.readers.regions import region, xywh_of_corners
from perceive_anything.data.schema import ByteRange, ImageRecord, RegionRecord
from perceive_anything.errors import DataError
from perceive_anything.masks import encode_rle

__all__ = ["DATASETS"]

Row = Mapping[str, str]
SAME_BOX = 0.004  # of the picture's side
_FLAGS = {"IsOccluded": "occluded", "IsTruncated": "truncated", "IsDepiction": "depiction"}
_CLASSES = ("oidv7-class-descriptions-boxable.csv", "class-descriptions-boxable.csv",
            "oidv7-class-descriptions.csv", "class-descriptions.csv")  # fmt: skip


def _read(job: Job) -> Iterator[ImageRecord]:
    split = "validation" if job.split == "val" else job.split
    beside = Job(job.dataset, job.folder, split, job.bad)
    boxes = job.root if job.root.is_file() else beside.file(
        "oidv6-{split}-annotations-bbox.csv", "{split}-annotations-bbox.csv"
    )  # fmt: skip
    names = _class_names(beside.file(*_CLASSES))
    masks = _Masks(beside)
    finder = Finder(beside.paths("{split}", "images/{split}", "images", ""))
    for number, rows in enumerate(_table(boxes).groups()):
        image_id = rows[0].get("ImageID", "")
        place = f"{boxes}: image {image_id or number}"
        try:
            file = finder.find(f"{image_id}.jpg", f"{image_id}.png")
            size_wh = picture_size_wh(file)
        except (*MALFORMED, *UNREADABLE) as error:
            job.bad.leave_out(place, error)
            continue
        single = [(place, row) for row in rows if row.get("IsGroupOf") != "1"]
        outlines = masks.of_image(image_id)
        make = partial(_region, size_wh=size_wh, names=names, outlines=outlines)
        regions = job.bad.usable(single, make, (*MALFORMED, *UNREADABLE))
        if regions:
            yield ImageRecord(
                image_id, job.dataset.name, "CC BY 2.0", job.split, size_wh, (),
                regions, ByteRange(str(file)),
            )  # fmt: skip


def _region(
    number: int,
    row: Row,
    size_wh: tuple[int, int],
    names: Mapping[str, str],
    outlines: list[_Outline],
) -> RegionRecord:
    (width, height), corners = size_wh, _corners(row, "")
    left, top, right, bottom = corners
    fitting = [each for each in outlines if each.fits(row["LabelName"], corners)]
    return region(
        number,
        names[row["LabelName"]],
        size_wh,
        xywh=xywh_of_corners((left * width, top * height, right * width, bottom * height)),
        outline=_mask(fitting[0].file, size_wh) if fitting else None,
        extra={word: True for flag, word in _FLAGS.items() if row.get(flag) == "1"},
    )


class _Outline(NamedTuple):
    """A mask, and the box it was drawn for."""

    label: str
    corners: list[float]
    file: Path

    def fits(self, label: str, corners: list[float]) -> bool:
        """Whether a box is that one; the tables share no number, and may round differently."""
        distance = max(abs(a - b) for a, b in zip(self.corners, corners, strict=True))
        return self.label == label and distance < SAME_BOX


def _corners(row: Row, prefix: str) -> list[float]:
    return [float(row[prefix + name]) for name in ("XMin", "YMin", "XMax", "YMax")]


class _Masks:
    """The masks of a split, if its table is there; they need not be of the picture's size."""

    def __init__(self, job: Job) -> None:
        tables = job.paths("{split}-annotations-object-segmentation.csv")
        self.path = tables[0]
        self.rows = _table(self.path) if self.path.is_file() else None
        parts = [f"{{split}}-masks-{digit}" for digit in "0123456789abcdef"]
        self.finder = Finder(job.paths("{split}-masks", "masks/{split}", "masks", *parts))
        self.bad = job.bad

    def of_image(self, image_id: str) -> list[_Outline]:
        """The masks of a picture."""
        found = []
        for row in self.rows.rows(image_id) if self.rows else []:
            try:
                file = self.finder.find(row["MaskPath"])
                found.append(_Outline(row["LabelName"], _corners(row, "Box"), file))
            except MALFORMED as error:
                self.bad.leave_out(f"{self.path}: {row.get('MaskPath')}", error)
        return found


def _mask(path: Path, size_wh: tuple[int, int]) -> dict[str, object]:
    with Image.open(path) as image:
        return encode_rle(np.array(image.convert("1").resize(size_wh, Image.Resampling.NEAREST)))


def _table(path: Path) -> RowIndex:
    """A CSV table by its column ImageID."""
    lines = line_items(path)
    header = [cell for item in islice(lines, 1) for cell in _cells(item.value)]
    if "ImageID" not in header:
        raise DataError(f'"{path}" has no column ImageID.', code="bad_record")
    rows = RowIndex(path, lambda line: dict(zip(header, _cells(line), strict=False)))
    column = header.index("ImageID")
    for item in lines:
        cells = _cells(item.value)
        rows.add(cells[column] if column < len(cells) else "", item)
    return rows


def _cells(line: bytes) -> list[str]:
    return next(csv.reader([line.decode("utf-8", "replace").rstrip("\r\n")]), [])


def _class_names(path: Path) -> dict[str, str]:
    with path.open(encoding="utf-8-sig", newline="") as stream:
        return {row[0]: row[1].lower() for row in csv.reader(stream) if len(row) >= 2}


DATASETS = (
    Dataset(
        "openimages",
        "OpenImages: 600 classes with boxes, 350 of them with masks",
        "oidv6-train-annotations-bbox.csv (or train-annotations-bbox.csv),"
        " class-descriptions-boxable.csv, train/*.jpg and, for masks,"
        " train-annotations-object-segmentation.csv with train-masks/*.png",
        "https://storage.googleapis.com/openimages/web/download_v7.html",
        "rows of the real table of boxes; the other tables as other loaders read them",
        _read,
        ("train", "val", "test"),
    ),
)
