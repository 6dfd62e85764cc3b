"""CVAT for images 1.1: masks with our texts as attributes, and the labels of the task.

A mask there is row-major run lengths inside its box, the first of the background, be it 0; the box
is left, top, width and height in the file (inclusive corners in CVAT's interfaces).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np

from perceive_anything.export.answers import TEXT_FIELDS
from perceive_anything.export.files import write_bytes, write_json_file
from perceive_anything.export.records import ExportedImage, ExportedRegion, category_ids
from perceive_anything.masks import BoolMask

NOT_IN_XML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
ATTRIBUTES = (
    *(name for name in TEXT_FIELDS if name != "label"),
    "score",
    "label_confidence",
    "uncertain",
)


def write_cvat(images: Sequence[ExportedImage], folder: Path) -> list[Path]:
    """Write `annotations.xml` to upload and `labels.json` to make the task with.

    Args:
        images: In the order of their ids, from 0.
        folder: Where to.

    Returns:
        The files.
    """
    root = cvat_document(images)
    ElementTree.indent(root)
    content = ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)
    labels = [_label(name) for name in category_ids(images)]
    return [
        write_bytes(content + b"\n", folder / "annotations.xml"),
        write_json_file(labels, folder / "labels.json"),
    ]


def cvat_document(images: Sequence[ExportedImage]) -> ElementTree.Element:
    """The document; an empty mask, which CVAT cannot say, is left out."""
    root = ElementTree.Element("annotations")
    ElementTree.SubElement(root, "version").text = "1.1"
    for image_id, image in enumerate(images):
        width, height = image.size_wh
        given = {"id": image_id, "name": xml_text(image.name), "width": width, "height": height}
        page = ElementTree.SubElement(root, "image", _strings(given))
        for region in image.regions:
            if not region.is_empty:
                _add_mask(page, region)
    return root


def _add_mask(page: ElementTree.Element, region: ExportedRegion) -> None:
    x1, y1, x2, y2 = region.box_xyxy
    runs = encode_runs(region.mask[y1:y2, x1:x2])
    given = {
        "label": xml_text(region.category),
        "source": "auto",
        "occluded": 0,
        "rle": ", ".join(map(str, runs)),
        "left": x1,
        "top": y1,
        "width": x2 - x1,
        "height": y2 - y1,
        "z_order": region.id,
    }
    mask = ElementTree.SubElement(page, "mask", _strings(given))
    values: dict[str, Any] = {**region.texts, "score": region.score}
    if region.label_confidence is not None:
        values["label_confidence"] = region.label_confidence
        values["uncertain"] = str(region.uncertain).lower()
    for name in ATTRIBUTES:
        if values.get(name) is not None:
            ElementTree.SubElement(mask, "attribute", name=name).text = xml_text(str(values[name]))


def xml_text(text: str) -> str:
    """The text without the control characters that XML cannot carry."""
    return NOT_IN_XML.sub("", text)


def _strings(values: dict[str, Any]) -> dict[str, str]:
    return {name: str(value) for name, value in values.items()}


def _label(name: str) -> dict[str, Any]:
    """A label of a task in the raw form of CVAT's constructor."""
    attributes = [
        {"name": attribute, "mutable": True, "input_type": "text", "values": [""]}
        for attribute in ATTRIBUTES
    ]
    return {"name": name, "type": "mask", "attributes": attributes}


def encode_runs(mask: BoolMask) -> list[int]:
    """Lengths of the row-major runs of a crop, the first of the background.

    Example:
        >>> encode_runs(np.array([[True, False], [False, True]]))
        [0, 1, 2, 1]
    """
    flat = mask.ravel()
    edges = np.flatnonzero(np.diff(flat)) + 1
    runs: list[int] = np.diff(np.concatenate([[0], edges, [flat.size]])).tolist()
    return [0, *runs] if flat[0] else runs


def decode_runs(runs: Sequence[int], shape_hw: tuple[int, int]) -> BoolMask:
    """The crop of such runs.

    Args:
        runs: Lengths, the first of the background.
        shape_hw: Height and width of the box.

    Raises:
        ValueError: They do not fill the box.
    """
    if min(runs, default=0) < 0 or sum(runs) != shape_hw[0] * shape_hw[1]:
        raise ValueError(f"runs of {sum(runs)} pixels in a box of {list(shape_hw)}")
    return np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(shape_hw)
