"""YOLO-seg: `data.yaml` and a text file of polygons for each image.

The format has one polygon a region, so its parts and holes are joined by seams of no width, which
readers that fill by even and odd (OpenCV, supervision) fill rightly but for a pixel at the rim. A
region without an outline (a pixel, a line) becomes its box.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import numpy as np
import numpy.typing as npt
import yaml

from perceive_anything.errors import OptionError
from perceive_anything.export.files import write_text_file
from perceive_anything.export.records import ExportedImage, ExportedRegion, category_ids
from perceive_anything.masks import mask_to_polygons

Outline = npt.NDArray[np.float64]


def write_yolo(images: Sequence[ExportedImage], folder: Path) -> list[Path]:
    """Write `data.yaml` and `labels/NAME.txt` for each image.

    The images are not copied: the tools expect them in `images` beside `labels`.

    Args:
        images: Their names without ending must differ.
        folder: Where to.

    Returns:
        The files.

    Raises:
        OptionError: Two images have the same label file.
    """
    ids = category_ids(images)
    check_stems([image.name for image in images])
    settings = {
        "path": ".",
        "train": "images",
        "val": "images",
        "names": {number - 1: name for name, number in ids.items()},
    }
    text = yaml.safe_dump(settings, allow_unicode=True, sort_keys=False)
    written = [write_text_file(text, folder / "data.yaml")]
    for image in images:
        rows = [yolo_line(r, image.size_wh, ids[r.category] - 1) for r in image.regions]
        label_file = folder / "labels" / PurePosixPath(image.name).with_suffix(".txt")
        text = "".join(f"{row}\n" for row in rows if row)
        written.append(write_text_file(text, label_file))
    return written


def check_stems(names: Sequence[str]) -> None:
    """Refuse names that only differ in their ending.

    Raises:
        OptionError: There are two such.
    """
    seen: dict[PurePosixPath, str] = {}
    for name in names:
        stem = PurePosixPath(name).with_suffix("")
        if stem in seen:
            raise OptionError(
                f'"{seen[stem]}" and "{name}" would share one YOLO label file, "{stem}.txt".\n'
                "  Rename one of the two images, or take another format.",
                code="unknown_option",
            )
        seen[stem] = name


def yolo_line(region: ExportedRegion, size_wh: tuple[int, int], class_id: int) -> str:
    """Class and outline in 0..1 of the image; "" for an empty mask, which YOLO cannot say."""
    if region.is_empty:
        return ""
    polygons = [np.reshape(p, (-1, 2)) for p in mask_to_polygons(region.mask)]
    outline = joined(polygons) if polygons else _corners(region.box_xyxy)
    shares = outline / np.array(size_wh)
    return " ".join([str(class_id), *(f"{value:.6f}" for value in shares.ravel())])


def joined(polygons: Sequence[Outline]) -> Outline:
    """One outline (N, 2) that goes to each part at the nearest corners and back the same way."""
    first, *rest = sorted(polygons, key=len, reverse=True)
    for part in rest:
        distances = ((first[:, None] - part[None]) ** 2).sum(2)
        here, there = np.unravel_index(distances.argmin(), distances.shape)
        loop = np.concatenate([part[there:], part[: there + 1]])
        first = np.concatenate([first[: here + 1], loop, first[here:]])
    return first


def _corners(box_xyxy: tuple[int, int, int, int]) -> Outline:
    x1, y1, x2, y2 = box_xyxy
    return np.array([[x1, y1], [x2, y1], [x2, y2], [x1, y2]], dtype=float)
