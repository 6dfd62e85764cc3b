"""COCO's json and the sets written like it: LVIS, Objects365, PACO, V3Det, and people's own.

Knows their layouts and the texts that an annotation may carry beside its category. Files are
read row by row; of the annotations only places are held.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

from perceive_anything.data.bad_rows import MALFORMED, BadRows
from perceive_anything.data.readers.job import Dataset, Job
from perceive_anything.data.readers.json_rows import RowIndex, json_items
from perceive_anything.data.readers.pictures import Finder
from perceive_anything.data.readers.regions import plain_name, region
from perceive_anything.data.schema import TEXT_FIELDS, ByteRange, ImageRecord, RegionRecord
from perceive_anything.errors import DataError

__all__ = ["DATASETS", "read_coco"]

_NEXT = "Expected COCO instances: images, annotations and categories."
_TABLES = ("categories", "part_categories", "attributes")


@dataclass(frozen=True, slots=True)
class Form:
    """Where a set has its files.

    Args:
        files: Annotation files; the first that exists is read. Without any of them, the one json
            file of the folder is.
        pictures: Folders that pictures may lie in, besides the folder and `images`.
    """

    files: tuple[str, ...]
    pictures: tuple[str, ...] = ()


def read_coco(
    folder: str | Path, *, max_bad: int = 20, report: Callable[[str], None] = print
) -> list[ImageRecord]:
    """Records of a folder with one `*.json` (or one in `annotations/`) and images (or `images/`).

    Categories give the labels (`name`, and `name_zh` if there is one). Annotations or categories
    may hold texts: `caption`, `explanation`, `description`, each also with `_zh`. Crowds are left
    out. In LVIS the sense is taken out of a name ("bow (weapon)") and its definition explains;
    images are also looked for in the folder of their address (`train2017/`, `val2017/`).

    Args:
        folder: The folder, or one json file of it.
        max_bad: Annotations and images that may be unusable; each is reported and left out.
        report: Where lines about them go.

    Returns:
        One record an image that has a usable annotation; boxes are pixels of the image.

    Raises:
        DataError: No or several json files, not COCO, no usable annotation, or too many bad ones.
    """
    path = _annotation_file(Path(folder))
    records = list(_records(path, "train", BadRows(max_bad, report, _NEXT)))
    if not records:
        raise DataError(f'no annotation of "{path}" can be used.\n  {_NEXT}', code="bad_record")
    return records


def _read(job: Job, form: Form) -> Iterator[ImageRecord]:
    known = [path for path in job.paths(*form.files) if path.is_file()]
    path = job.root if job.root.is_file() else known[0] if known else None
    if path is None and form is not _COCO:
        raise job.missing(" or ".join(map(str, form.files)).format(split=job.split))
    pictures = [job.folder, *job.paths("images", *form.pictures)]
    yield from _records(path or _annotation_file(job.root), job.split, job.bad, pictures)


def _records(
    path: Path, split: str, bad: BadRows, folders: Iterable[Path] = ()
) -> Iterator[ImageRecord]:
    content = _Content(path)
    roots = (path.parent, path.parent.parent)
    finder = Finder([*folders, *roots, *(root / "images" for root in roots)])
    for number in content.rows.without(content.images):
        bad.leave_out(f"{path}: annotations[{number}]", "there is no such image")
    for number, image in enumerate(content.images):
        rows = content.rows.numbered(image.get("id")) if isinstance(image, dict) else []
        if not rows:
            continue
        try:
            size_wh = (int(image["width"]), int(image["height"]))
            file = finder.find(*_names(image))
        except MALFORMED as error:
            bad.leave_out(f"{path}: images[{number}]", error)
            continue
        regions = bad.usable(
            [(f"{path}: annotations[{place}]", row) for place, row in rows if not _is_crowd(row)],
            partial(content.region, size_wh=size_wh),
        )
        if regions:
            yield ImageRecord(
                str(image["id"]), path.parent.name, str(image.get("license", "")), split,
                size_wh, (), regions, ByteRange(str(file)),
            )  # fmt: skip


class _Content:
    """A file, of which images and annotations stay on disk."""

    def __init__(self, path: Path) -> None:
        self.path, self.images, self.rows = path, RowIndex(path), RowIndex(path)
        self.tables: dict[str, dict[Any, Mapping[str, Any]]] = {table: {} for table in _TABLES}
        indices = {"images": (self.images, "id"), "annotations": (self.rows, "image_id")}
        seen = set()
        for item in json_items(path):
            row = item.value if isinstance(item.value, dict) else {}
            seen.add(item.section if isinstance(item.name, int) else "")
            if item.section in indices:
                index, key = indices[item.section]
                index.add(row.get(key), item)
            elif item.section in self.tables:
                self.tables[item.section][row.get("id")] = row
        missing = [part for part in ("images", "annotations", "categories") if part not in seen]
        if missing:
            raise DataError(
                f'"{path}" has no list of {", ".join(missing)}, or an empty one.\n  {_NEXT}',
                code="bad_record",
            )
        self.tables["categories"] |= self.tables["part_categories"]

    def region(self, number: int, row: Mapping[str, Any], size_wh: tuple[int, int]) -> RegionRecord:
        """An annotation as a region."""
        category = _category(self.tables["categories"][row["category_id"]])
        texts = {
            name + suffix: str(text).strip()
            for name in TEXT_FIELDS
            for suffix in ("", "_zh")
            if (text := row.get(name + suffix) or category.get(name + suffix))
        }
        whole, is_part, part = str(category["name"]).partition(":")
        if is_part:
            whole = _without_sense(whole)
            texts |= {"whole": plain_name(whole), "part": plain_name(part)}
        return region(
            number,
            plain_name(f"{whole} {part}"),
            size_wh,
            xywh=row.get("bbox"),
            outline=row.get("segmentation"),
            kind="part" if is_part else "instance",
            label_zh=category.get("name_zh"),
            extra=texts | self._paco(row),
        )

    def _paco(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """What PACO tells besides: attributes, and which object a part belongs to."""
        if "obj_ann_id" not in row:
            return {}
        ids = [*row.get("attribute_ids", ()), *row.get("dom_color_ids", ())]
        names = [str(self.tables["attributes"][each]["name"]) for each in dict.fromkeys(ids)]
        known = tuple(plain_name(name) for name in names if not name.startswith("other"))
        owner = row["obj_ann_id"] if row["obj_ann_id"] != row["id"] else None
        return {"attributes": known, "annotation_id": row["id"], "part_of": owner}


def _is_crowd(row: object) -> bool:
    return isinstance(row, dict) and bool(row.get("iscrowd"))


def _names(image: Mapping[str, Any]) -> list[str]:
    """Where a file may lie below a folder; LVIS tells the address only."""
    names = [image["file_name"]] if image.get("file_name") else []
    if not names or image.get("coco_url"):
        address = PurePosixPath(image["coco_url"])
        names += ["/".join(address.parts[-2:]), address.name]
    return names


def _category(row: Mapping[str, Any]) -> Mapping[str, Any]:
    """The category; one of LVIS (it has a WordNet sense) as a person would say it."""
    if isinstance(row.get("cat_info"), list) and row["cat_info"]:  # V3Det
        return {"explanation": row["cat_info"][0], **row}
    if not (row.get("name") and row.get("synset")):
        return row
    name = _without_sense(str(row["name"]))
    if not row.get("def"):
        return {**row, "name": name}
    return {"explanation": f"{name.replace('_', ' ')}: {row['def']}", **row, "name": name}


def _without_sense(name: str) -> str:
    return name.partition("_(")[0]


def _annotation_file(folder: Path) -> Path:
    if folder.is_file():
        return folder
    found = [path for place in (folder, folder / "annotations") for path in place.glob("*.json")]
    if len(found) != 1:
        names = ", ".join(sorted(path.name for path in found)) or "none"
        raise DataError(
            f'expected one *.json in "{folder}" or its annotations/, found {names}.\n'
            "  Give a folder with images and one COCO file: --data DIR.",
            code="file_missing",
        )
    return found[0]


def _both(*names: str) -> tuple[str, ...]:
    """Names in `annotations/` and beside it."""
    return tuple(folder + name for name in names for folder in ("annotations/", ""))


_COCO = Form(_both("instances_{split}2017.json", "instances_{split}2014.json"),
             ("{split}2017", "{split}2014"))  # fmt: skip
_OF_2017 = ("train2017", "val2017")

DATASETS = (
    Dataset(
        "coco",
        "COCO: 80 categories with masks; also any folder with one COCO file",
        "annotations/instances_train2017.json and train2017/, or one *.json and its pictures",
        "https://cocodataset.org/#format-data",
        "the set's data format page; no real file was at hand",
        partial(_read, form=_COCO),
    ),
    Dataset(
        "lvis",
        "LVIS v1: 1,203 categories with masks and definitions, on COCO's pictures",
        "lvis_v1_train.json (or in annotations/), train2017/ and val2017/",
        "https://www.lvisdataset.org/dataset",
        "how other loaders read it; no real file was at hand",
        partial(_read, form=Form(_both("lvis_v1_{split}.json"), _OF_2017)),
        ("train", "val"),
    ),
    Dataset(
        "objects365",
        "Objects365 v2: 365 categories with boxes",
        "zhiyuan_objv2_train.json (or in annotations/), train/patch0/*.jpg",
        "https://www.objects365.org/overview.html",
        "how other loaders read it; no real file was at hand",
        partial(_read, form=Form(_both("zhiyuan_objv2_{split}.json"), ("{split}",))),
        ("train", "val"),
    ),
    Dataset(
        "paco",
        "PACO-LVIS: objects and their parts with masks and attributes, on COCO's pictures",
        "paco_lvis_v1_train.json (or in annotations/), train2017/ and val2017/",
        "https://github.com/facebookresearch/paco/blob/main/docs/PACO_DATASET.md",
        "docs/PACO_DATASET.md there; no real file was at hand",
        partial(_read, form=Form(_both("paco_lvis_v1_{split}.json"), _OF_2017)),
        ("train", "val", "test"),
    ),
    Dataset(
        "v3det",
        "V3Det: 13,204 categories with boxes, Chinese names and definitions",
        "v3det_2023_v1_train.json (or in annotations/), images/CATEGORY/*.jpg",
        "https://github.com/V3Det/V3Det",
        "the readme there; no real file was at hand",
        partial(_read, form=Form(_both("v3det_2023_v1_{split}.json"))),
        ("train", "val"),
    ),
)  # fmt: skip
