"""Referring expressions: RefCOCO, RefCOCO+, RefCOCOg, gRefCOCO, Google RefExp and RefText.

Knows who keeps expressions, boxes and pictures where; all become `phrases` of regions.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from perceive_anything.data.bad_rows import MALFORMED
from perceive_anything.data.readers.job import Dataset, Job
from perceive_anything.data.readers.json_rows import RowIndex, json_items, json_of
from perceive_anything.data.readers.pictures import UNREADABLE, Finder, picture_size_wh
from perceive_anything.data.readers.plain_pickle import plain_pickle
from perceive_anything.data.readers.regions import group_region, plain_name, region, said
from perceive_anything.data.schema import ByteRange, ImageRecord, RegionRecord

__all__ = ["DATASETS"]

_PICTURES = ("train2014", "images/train2014", "images/mscoco/images/train2014",
             "../images/mscoco/images/train2014", "../train2014")  # fmt: skip


@dataclass(slots=True)
class _Boxes:
    """The annotations, pictures and categories that expressions point into.

    Attributes:
        path: The file they are in.
        annotations: By their id; they stay on disk.
        images: By their id.
        categories: Names by their id.
    """

    path: Path
    annotations: RowIndex = field(init=False)
    images: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    categories: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.annotations = RowIndex(self.path)
        for item in json_items(self.path):
            row = item.value if isinstance(item.value, dict) else {}
            if item.section == "annotations":
                self.annotations.add(row.get("id", row.get("annotation_id")), item)
            elif item.section == "images":
                self.images[str(row.get("id", row.get("image_id")))] = row
            elif item.section == "categories":
                self.categories[str(row.get("id", item.name))] = plain_name(row.get("name", ""))

    def region(self, number: int, ann_id: object, size_wh: tuple[int, int]) -> RegionRecord:
        """An annotation as a region without phrases."""
        rows = self.annotations.rows(ann_id)
        if not rows:
            raise ValueError(f"there is no annotation {ann_id}")
        label = self.categories.get(str(rows[0].get("category_id")), "")
        outline = rows[0].get("segmentation")
        return region(number, label, size_wh, xywh=rows[0]["bbox"], outline=outline)


@dataclass(frozen=True, slots=True)
class _Expression:
    """Texts that point out the same objects."""

    place: str
    image_id: object
    ann_ids: tuple[object, ...]
    phrases: tuple[str, ...]


def _read_refs(job: Job, name: str, split_by: tuple[str, ...]) -> Iterator[ImageRecord]:
    stem = "grefs" if name.startswith("g") else "refs"
    files = [f"{stem}({by}).{kind}" for by in split_by for kind in ("json", "p")]
    path = job.file(*files, *(f"{name}/{file}" for file in files))
    refs = plain_pickle(path) if path.suffix in (".p", ".pkl") else json_of(path)
    boxes = _Boxes(Job.file(_beside(job), "instances.json", f"{name}/instances.json"))
    expressions: list[_Expression] = []
    for number, ref in enumerate(refs):
        place = f"{path}: refs[{number}]"
        try:
            if ref["split"] != job.split:
                continue
            ids = ref["ann_id"] if isinstance(ref["ann_id"], list) else [ref["ann_id"]]
            phrases = said(each.get("raw") or each.get("sent") for each in ref["sentences"])
            pointed = tuple(each for each in ids if each != -1)
            expressions.append(_Expression(place, ref["image_id"], pointed, phrases))
        except MALFORMED as error:
            job.bad.leave_out(place, error)
    yield from _records(job, boxes, expressions)


def _beside(job: Job) -> Job:
    """The same job, looking for further files even if one was given."""
    return Job(job.dataset, job.folder, job.split, job.bad)


def _read_refexp(job: Job) -> Iterator[ImageRecord]:
    name = "google_refexp_{split}_201511"
    path = job.file(f"{name}_coco_aligned.json", f"{name}.json")
    texts: dict[str, str] = {}
    rows = []
    for item in json_items(path):
        if item.section == "refexps":
            texts[str(item.value["refexp_id"])] = item.value["raw"]
        elif item.section == "annotations":
            rows.append((item.name, item.value))
    aligned = bool(rows) and "bbox" in rows[0][1]
    boxes = _Boxes(path if aligned else _beside(job).file(
        "instances_train2014.json", "annotations/instances_train2014.json",
    ))  # fmt: skip
    expressions = []
    for number, row in rows:
        place = f"{path}: annotations[{number}]"
        try:
            phrases = said(texts[str(each)] for each in row["refexp_ids"])
            ann_id = row.get("annotation_id", row.get("id"))
            expressions.append(_Expression(place, row["image_id"], (ann_id,), phrases))
        except MALFORMED as error:
            job.bad.leave_out(place, error)
    yield from _records(job, boxes, expressions)


def _records(job: Job, boxes: _Boxes, refs: Iterable[_Expression]) -> Iterator[ImageRecord]:
    of_image: dict[str, list[_Expression]] = defaultdict(list)
    for ref in refs:
        of_image[str(ref.image_id)].append(ref)
    finder = Finder([job.folder, *job.paths("images", *_PICTURES)])
    for image_id, expressions in of_image.items():
        try:
            image = boxes.images[image_id]
            size_wh = (int(image["width"]), int(image["height"]))
            name = image.get("file_name") or f"COCO_train2014_{int(image_id):012d}.jpg"
            handle = ByteRange(str(finder.find(name)))
        except MALFORMED as error:
            job.bad.leave_out(f"{expressions[0].place}: image {image_id}", error)
            continue
        regions = _regions(job, boxes, expressions, size_wh)
        if regions:
            yield ImageRecord(
                image_id, job.dataset.name, str(image.get("license", "")), job.split, size_wh, (),
                regions, handle,
            )  # fmt: skip


def _regions(
    job: Job, boxes: _Boxes, expressions: Iterable[_Expression], size_wh: tuple[int, int]
) -> tuple[RegionRecord, ...]:
    """One region for each object or group, with all that was said of it."""
    phrases: dict[tuple[object, ...], list[str]] = defaultdict(list)
    places: dict[tuple[object, ...], str] = {}
    for each in expressions:
        phrases[each.ann_ids] += each.phrases
        places.setdefault(each.ann_ids, each.place)
    rows = [(places[ann_ids], (ann_ids, said(texts))) for ann_ids, texts in phrases.items()]
    return job.bad.usable(rows, partial(_pointed_out, boxes=boxes, size_wh=size_wh))


def _pointed_out(
    number: int,
    spoken: tuple[tuple[object, ...], tuple[str, ...]],
    boxes: _Boxes,
    size_wh: tuple[int, int],
) -> RegionRecord:
    ann_ids, phrases = spoken
    members = [boxes.region(number, ann_id, size_wh) for ann_id in ann_ids]
    found = members[0] if len(members) == 1 else _several(number, members, size_wh)
    named = {"phrases" if members else "absent_phrases": phrases, "annotation_ids": ann_ids}
    extra = {**found.extra, **{key: value for key, value in named.items() if value}}
    return replace(found, extra=extra)


def _several(number: int, members: list[RegionRecord], size_wh: tuple[int, int]) -> RegionRecord:
    """A group; of what is not in the picture, the whole picture, which has no name."""
    if members:
        return group_region(number, members)
    return region(number, "", size_wh, xywh=(0, 0, *size_wh), kind="whole-image")


def _read_reftext(job: Job) -> Iterator[ImageRecord]:
    files = [f"{folder}reftext_{{split}}.{kind}" for folder in ("", "data/reftext/")
             for kind in ("json", "pth")]  # fmt: skip
    path = job.file(*files)
    rows = json_of(path) if path.suffix == ".json" else plain_pickle(path)
    finder = Finder(job.paths("", "images", "images/reftext", "ln_data/other/images/reftext"))
    of_image: dict[str, dict[tuple[float, ...], list[str]]] = defaultdict(lambda: defaultdict(list))
    for number, row in enumerate(rows):
        try:
            name, _, xywh, phrase, *_ = row
            of_image[str(name)][tuple(float(value) for value in xywh)].append(str(phrase))
        except MALFORMED as error:
            job.bad.leave_out(f"{path}: [{number}]", error)
    for name, phrases in of_image.items():
        try:
            file = finder.find(name)
            size_wh = picture_size_wh(file)
        except (*MALFORMED, *UNREADABLE) as error:
            job.bad.leave_out(f"{path}: {name}", error)
            continue
        rows = [(f"{path}: {name}", each) for each in phrases.items()]
        regions = job.bad.usable(rows, partial(_of_reftext, size_wh=size_wh))
        if regions:
            yield ImageRecord(
                name, job.dataset.name, "", job.split, size_wh, (), regions, ByteRange(str(file))
            )


def _of_reftext(
    number: int, row: tuple[Sequence[float], Sequence[str]], size_wh: tuple[int, int]
) -> RegionRecord:
    xywh, phrases = row
    return region(number, "", size_wh, xywh=xywh, extra={"phrases": said(phrases)})


_REFER = "https://github.com/lichengunc/refer"
_LAYOUT = "refs({by}).json or .p and instances.json, here or in {name}/, and train2014/"
_UNC = ("train", "val", "testA", "testB")

DATASETS = (
    Dataset(
        "refcoco",
        "RefCOCO: short expressions for objects of COCO, from a game",
        _LAYOUT.format(by="unc", name="refcoco"),
        _REFER,
        "the readme and refer.py there; no real file was at hand",
        partial(_read_refs, name="refcoco", split_by=("unc", "google")),
        _UNC,
    ),
    Dataset(
        "refcoco+",
        "RefCOCO+: the same without words for places",
        _LAYOUT.format(by="unc", name="refcoco+"),
        _REFER,
        "the readme and refer.py there; no real file was at hand",
        partial(_read_refs, name="refcoco+", split_by=("unc",)),
        _UNC,
    ),
    Dataset(
        "refcocog",
        "RefCOCOg: whole sentences for objects of COCO",
        _LAYOUT.format(by="umd", name="refcocog"),
        _REFER,
        "the readme and refer.py there; no real file was at hand",
        partial(_read_refs, name="refcocog", split_by=("umd", "google")),
        ("train", "val", "test"),
    ),
    Dataset(
        "grefcoco",
        "gRefCOCO: expressions for one, several or no object of COCO",
        "grefs(unc).json and instances.json, here or in grefcoco/, and train2014/",
        "https://github.com/henghuiding/gRefCOCO",
        "the readme there, and the loader in henghuiding/ReLA; no real file was at hand",
        partial(_read_refs, name="grefcoco", split_by=("unc",)),
        _UNC,
    ),
    Dataset(
        "refexp",
        "Google RefExp: sentences that point out one object of COCO",
        "google_refexp_train_201511_coco_aligned.json (or the file before it was aligned, with"
        " instances_train2014.json) and train2014/",
        "https://github.com/mjhucla/Google_Refexp_toolbox",
        "the readme there; the fields as other loaders read them; no real file was at hand",
        _read_refexp,
        ("train", "val"),
    ),
    Dataset(
        "reftext",
        "RefText: expressions that need the text in the picture to be read",
        "reftext_train.pth or .json (rows: picture, id, left top width height, expression, ...),"
        " here or in data/reftext/, and the pictures in images/",
        "https://github.com/Buki2/STAN",
        "the readme and dataset/data_loader.py there; no real file was at hand",
        _read_reftext,
        ("train", "val", "test"),
    ),
)
