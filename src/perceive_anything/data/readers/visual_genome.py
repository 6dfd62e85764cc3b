"""Visual Genome: phrases for regions, and objects with names and attributes.

Knows its JSON files, which are read image by image.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

from perceive_anything.data.bad_rows import MALFORMED
from perceive_anything.data.readers.job import Dataset, Job
from perceive_anything.data.readers.json_rows import RowIndex, json_items
from perceive_anything.data.readers.pictures import Finder
from perceive_anything.data.readers.regions import plain_name, region, said
from perceive_anything.data.schema import ByteRange, ImageRecord, RegionRecord

__all__ = ["DATASETS"]

Row = Mapping[str, Any]


def _read(job: Job) -> Iterator[ImageRecord]:
    images = job.file("image_data.json")
    tables = {name: path for name in ("region_descriptions", "attributes", "objects")
              if (path := job.folder / f"{name}.json").is_file()}  # fmt: skip
    if not tables:
        raise job.missing("region_descriptions.json, attributes.json or objects.json")
    if "attributes" in tables:
        tables.pop("objects", None)  # the same objects, without attributes
    indices = {name: RowIndex(path) for name, path in tables.items()}
    for index in indices.values():
        for item in json_items(index.path):
            index.add(item.value.get("image_id", item.value.get("id")), item)
    finder = Finder(job.paths("VG_100K", "VG_100K_2", "images", "images/VG_100K",
                              "images/VG_100K_2", ""))  # fmt: skip
    for item in json_items(images):
        image_id = item.value.get("image_id", item.value.get("id"))
        rows = [row for index in indices.values() for row in _rows(index, image_id)]
        try:
            size_wh = (int(item.value["width"]), int(item.value["height"]))
            file = finder.find(f"{image_id}.jpg")
        except MALFORMED as error:
            job.bad.leave_out(f"{images}: [{item.name}]", error)
            continue
        places = [(f"image {image_id}", row) for row in rows]
        regions = job.bad.usable(places, partial(_region, size_wh=size_wh))
        if regions:
            yield ImageRecord(
                str(image_id), job.dataset.name, "CC BY 4.0", job.split, size_wh, (),
                regions, ByteRange(str(file)),
            )  # fmt: skip


def _rows(index: RowIndex, image_id: object) -> list[Row]:
    return [
        row
        for image in index.rows(image_id)
        for key in ("regions", "attributes", "objects")
        for row in image.get(key, ())
    ]


def _region(number: int, row: Row, size_wh: tuple[int, int]) -> RegionRecord:
    """An object, or a region with a phrase; they name width and height differently."""
    width, height = (row["width"], row["height"]) if "width" in row else (row["w"], row["h"])
    xywh = (row["x"], row["y"], width, height)
    if "phrase" in row:
        (phrase,) = said([row["phrase"]])
        texts = {"phrases": (phrase,), "caption": phrase}
        return region(number, "", size_wh, xywh=xywh, extra=texts)
    names = said(plain_name(name) for name in row.get("names") or [row["name"]])
    extra = {
        "attributes": said(row.get("attributes") or ()),
        "synonyms": names[1:],
        "synsets": tuple(row.get("synsets") or ()),
    }
    return region(number, names[0], size_wh, xywh=xywh, extra=extra)


DATASETS = (
    Dataset(
        "visual_genome",
        "Visual Genome: 5 million region phrases; objects with attributes",
        "image_data.json; region_descriptions.json, attributes.json or objects.json; VG_100K/ and"
        " VG_100K_2/",
        "https://homes.cs.washington.edu/~ranjay/visualgenome/api.html",
        "the set's description of its fields; no real file was at hand",
        _read,
    ),
)
