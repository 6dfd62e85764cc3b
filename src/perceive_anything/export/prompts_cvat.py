"""CVAT for images 1.1 -> prompts: masks, boxes, polygons and points."""

from __future__ import annotations

import warnings
from xml.etree import ElementTree

import numpy as np

from perceive_anything.export.cvat import decode_runs
from perceive_anything.masks import polygons_to_mask
from perceive_anything.types import Box, Mask, Points, Prompt

NO_SHAPES = ("attribute", "tag")


def cvat_prompts(content: bytes) -> dict[str, list[Prompt]]:
    """Prompts by name of the image; shapes that are no region are left out with a warning.

    Args:
        content: The XML.

    Raises:
        KeyError: An attribute is missing.
        ValueError: It is no such XML, declares entities, or a shape is damaged.
        PromptError: A shape is no prompt, such as an inverted box.
    """
    if b"<!DOCTYPE" in content or b"<!ENTITY" in content:
        raise ValueError("it declares a document type, which CVAT never does")
    try:
        root = ElementTree.fromstring(content)
    except ElementTree.ParseError as error:
        raise ValueError(f"broken XML, {error}") from error
    if root.tag != "annotations" or root.find("track") is not None:
        raise ValueError(f"<{root.tag}> with tracks or of another kind")
    table = {}
    for image in root.iter("image"):
        shape_hw = (int(image.attrib["height"]), int(image.attrib["width"]))
        found = (_prompt(shape, shape_hw) for shape in image)
        table[image.attrib["name"]] = [prompt for prompt in found if prompt is not None]
    return table


def _prompt(shape: ElementTree.Element, shape_hw: tuple[int, int]) -> Prompt | None:
    given = shape.attrib
    if shape.tag == "box" and not float(given.get("rotation", 0)):
        return Box(*(float(given[side]) for side in ("xtl", "ytl", "xbr", "ybr")))
    if shape.tag == "points":
        return Points(_pairs(given["points"]))
    if shape.tag == "polygon":
        corners = [value for pair in _pairs(given["points"]) for value in pair]
        return Mask(polygons_to_mask([corners], shape_hw))
    if shape.tag == "mask":
        return _mask(given, shape_hw)
    if shape.tag not in NO_SHAPES:
        warnings.warn(f"a {shape.tag} of CVAT (or a turned box) is no prompt", stacklevel=2)
    return None


def _mask(given: dict[str, str], shape_hw: tuple[int, int]) -> Mask:
    left, top, width, height = (int(given[name]) for name in ("left", "top", "width", "height"))
    crop = decode_runs([int(run) for run in given["rle"].split(",")], (height, width))
    whole = np.zeros(shape_hw, bool)
    place = whole[top : top + height, left : left + width]
    if min(left, top) < 0 or place.shape != crop.shape:
        raise ValueError("a mask reaches outside its image")
    place[:] = crop
    return Mask(whole)


def _pairs(text: str) -> list[tuple[float, float]]:
    pairs = (item.split(",") for item in text.split(";"))
    return [(float(x), float(y)) for x, y in pairs]
