"""Label Studio tasks -> prompts: brushes, rectangles, polygons and key points.

Annotations by people come before predictions. A rectangle that is the child of a brush is that
region's box and no region of its own.
"""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from perceive_anything.export.rle_pack import unpack_mask
from perceive_anything.masks import polygons_to_mask
from perceive_anything.types import Box, Mask, Points, Prompt

UPLOADED = re.compile(r"^[0-9a-f]{8}-")  # put before the name of an uploaded file
NO_SHAPES = ("textarea", "choices", "rating", "taxonomy", "number", "labels")


def label_studio_prompts(tasks: Sequence[Mapping[str, Any]]) -> dict[str, list[Prompt]]:
    """Prompts by name of the image; what is no region is left out.

    Args:
        tasks: An export, or tasks with predictions.

    Raises:
        KeyError: Something is missing.
        ValueError: A brush is damaged.
        PromptError: A shape is no prompt.
    """
    return {_image_name(task["data"]): _prompts(_rows(task)) for task in tasks}


def _image_name(data: Mapping[str, Any]) -> str:
    """From a web address, an upload or a path of a local storage."""
    address = data["image"] if "image" in data else next(iter(data.values()))
    parts = urlsplit(address)
    path = parse_qs(parts.query).get("d", [unquote(parts.path)])[0]
    *folders, name = path.split("/")
    return "/".join([*folders, UPLOADED.sub("", name)]).lstrip("/")


def _rows(task: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    done = [one for one in task.get("annotations", []) if not one.get("was_cancelled")]
    sources = done or task.get("predictions") or [{"result": []}]
    rows: Sequence[Mapping[str, Any]] = sources[0]["result"]
    return rows


def _prompts(rows: Sequence[Mapping[str, Any]]) -> list[Prompt]:
    brushes = {row["id"] for row in rows if "rle" in row.get("value", {})}
    own = [row for row in rows if row.get("parentID") not in brushes]
    found = (_prompt(row) for row in own if row["type"] not in NO_SHAPES)
    return [prompt for prompt in found if prompt is not None]


def _prompt(row: Mapping[str, Any]) -> Prompt | None:
    value, kind = row["value"], row["type"].removesuffix("labels")
    width, height = row["original_width"], row["original_height"]
    if kind == "brush":
        mask = unpack_mask(value["rle"], (height, width))
        return Mask(mask) if mask.any() else None
    across, down = width / 100, height / 100
    if kind == "rectangle":
        corners = _corners(value, across, down)
        if not value.get("rotation"):
            return Box(*corners[0], *corners[2])
        return Mask(polygons_to_mask([[v for xy in corners for v in xy]], (height, width)))
    if kind == "polygon":
        flat = [v for x, y in value["points"] for v in (x * across, y * down)]
        return Mask(polygons_to_mask([flat], (height, width)))
    if kind == "keypoint":
        return Points([(value["x"] * across, value["y"] * down)])
    warnings.warn(f'"{row["type"]}" of Label Studio is no prompt', stacklevel=2)
    return None


def _corners(value: Mapping[str, float], across: float, down: float) -> list[tuple[float, float]]:
    """Pixel corners of a rectangle, turned clockwise by its degrees around the first one."""
    x, y = value["x"] * across, value["y"] * down
    width, height = value["width"] * across, value["height"] * down
    turn = math.radians(value.get("rotation") or 0)
    cos, sin = math.cos(turn), math.sin(turn)
    sides = [(0.0, 0.0), (width, 0.0), (width, height), (0.0, height)]
    return [(x + dx * cos - dy * sin, y + dx * sin + dy * cos) for dx, dy in sides]
