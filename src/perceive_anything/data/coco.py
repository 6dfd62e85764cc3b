"""Reads a folder of images with one COCO-style file of instances, as people annotate them.

Knows COCO's and LVIS' json and the texts that an annotation may carry beside its category. Refuses
to know what the records are for.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from perceive_anything.data.bad_rows import MALFORMED, BadRows
from perceive_anything.data.rows import xyxy_inside
from perceive_anything.data.schema import ByteRange, ImageRecord, RegionRecord
from perceive_anything.errors import DataError
from perceive_anything.masks import segmentation_to_rle

__all__ = ["TEXT_FIELDS", "read_coco"]

# Fields of an annotation (or, for all of a kind, of its category) that answer a task.
TEXT_FIELDS = {"caption": "caption", "explanation": "explain", "description": "describe"}
IMAGE_FOLDERS = (".", "images")
_NEXT = "Expected COCO instances: images, annotations and categories."


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
    content = _load(path)
    reader = _Reader(path, BadRows(max_bad, report, _NEXT))
    categories = {row.get("id"): _category(row) for row in content["categories"]}
    of_image: dict[Any, list[tuple[int, Mapping[str, Any]]]] = defaultdict(list)
    for number, row in enumerate(content["annotations"]):
        of_image[row.get("image_id")].append((number, row))
    known = {image.get("id") for image in content["images"]}
    for image_id in of_image.keys() - known:
        number, _ = of_image[image_id][0]
        reader.leave_out(f"annotations[{number}]", f"there is no image {image_id!r}")
    records = []
    for number, image in enumerate(content["images"]):
        rows = of_image.get(image.get("id"), [])
        record = reader.image(number, image, rows, categories) if rows else None
        if record is not None:
            records.append(record)
    if not records:
        raise DataError(f'no annotation of "{path}" can be used.\n  {_NEXT}', code="bad_record")
    return records


class _Reader:
    """Turns rows into records and leaves out what cannot be one."""

    def __init__(self, path: Path, bad: BadRows) -> None:
        self.path, self.bad = path, bad
        roots = (path.parent, path.parent.parent)
        self.folders = [root / name for root in roots for name in IMAGE_FOLDERS]

    def leave_out(self, where: str, reason: str | Exception) -> None:
        """Count a row that cannot be used."""
        self.bad.leave_out(f"{self.path}: {where}", reason)

    def image(
        self,
        number: int,
        image: Mapping[str, Any],
        rows: Iterable[tuple[int, Mapping[str, Any]]],
        categories: Mapping[Any, Mapping[str, Any]],
    ) -> ImageRecord | None:
        """An image with its usable annotations; None without any."""
        try:
            size_wh = (int(image["width"]), int(image["height"]))
            handle = ByteRange(str(self._find(image)))
        except MALFORMED as error:
            self.leave_out(f"images[{number}]", error)
            return None
        regions: list[RegionRecord] = []
        for place, row in rows:
            try:
                if not row.get("iscrowd"):
                    regions.append(_region(len(regions), row, categories, size_wh))
            except MALFORMED as error:
                self.leave_out(f"annotations[{place}]", error)
        if not regions:
            return None
        return ImageRecord(
            id=str(image["id"]),
            source=self.path.parent.name,
            license=str(image.get("license", "")),
            split="train",
            size_wh=size_wh,
            captions=(),
            regions=tuple(regions),
            handle=handle,
        )

    def _find(self, image: Mapping[str, Any]) -> Path:
        names = _names(image)
        for folder in self.folders:
            for name in names:
                if (folder / name).is_file():
                    return folder / name
        raise ValueError(f"there is no file {names[0]}")


def _names(image: Mapping[str, Any]) -> list[str]:
    """Where a file may lie below a folder; LVIS tells the address only."""
    names = [image["file_name"]] if image.get("file_name") else []
    if not names or image.get("coco_url"):
        address = PurePosixPath(image["coco_url"])
        names += ["/".join(address.parts[-2:]), address.name]
    return names


def _category(row: Mapping[str, Any]) -> Mapping[str, Any]:
    """The category; one of LVIS (it has a WordNet sense) as a person would say it."""
    if not (row.get("name") and row.get("synset") and row.get("def")):
        return row
    name = str(row["name"]).partition("_(")[0].replace("_", " ")
    return {"explanation": f"{name}: {row['def']}", **row, "name": name}


def _region(
    number: int,
    row: Mapping[str, Any],
    categories: Mapping[Any, Mapping[str, Any]],
    size_wh: tuple[int, int],
) -> RegionRecord:
    category = categories[row["category_id"]]
    box_xyxy = xyxy_inside(row["bbox"], size_wh)
    outline = row.get("segmentation")
    texts = {
        name + suffix: str(text).strip()
        for name in TEXT_FIELDS
        for suffix in ("", "_zh")
        if (text := row.get(name + suffix) or category.get(name + suffix))
    }
    return RegionRecord(
        id=number,
        label=str(category["name"]).replace("_", " ").lower(),
        label_zh=category.get("name_zh"),
        box_xyxy=box_xyxy,
        rle=segmentation_to_rle(outline, size_wh[::-1]) if outline else None,
        kind="instance",
        extra=texts,
    )


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


def _load(path: Path) -> dict[str, list[dict[str, Any]]]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise DataError(
            f'"{path}" cannot be read: {error}.\n  {_NEXT}', code="bad_record"
        ) from error
    parts = ("images", "annotations", "categories")
    missing = [part for part in parts if not isinstance(_get(content, part), list)]
    if missing:
        raise DataError(
            f'"{path}" has no list of {", ".join(missing)}.\n  {_NEXT}', code="bad_record"
        )
    return content


def _get(content: object, name: str) -> object:
    return content.get(name) if isinstance(content, dict) else None
