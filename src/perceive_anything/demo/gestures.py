"""What the canvas sends (clicks, boxes, strokes) -> prompts, checked as any stranger's input.

Knows pixels of the original picture and prompts; nothing of Gradio, sessions or models.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from perceive_anything.errors import PromptError
from perceive_anything.types import Box, Mask, Points, Prompt

if TYPE_CHECKING:
    from perceive_anything.masks import BoolMask
    from perceive_anything.results import Region

MAX_STROKE_POINTS, MAX_POINTS = 4000, 64
Xy = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Click:
    """A point.

    Args:
        xy: Pixels of the original.
        positive: Whether it lies inside what is meant.
        join: Whether it belongs to the selected region; else it begins a new one.
    """

    xy: Xy
    positive: bool
    join: bool


@dataclass(frozen=True, slots=True)
class Drag:
    """A box around what is meant."""

    box_xyxy: tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class Stroke:
    """A line of the brush.

    Args:
        xy: Its points in pixels of the original.
        radius_px: Half the width of the brush, in the same pixels.
        positive: Whether it paints; else it erases.
    """

    xy: tuple[Xy, ...]
    radius_px: float
    positive: bool


Gesture = Click | Drag | Stroke


def read_gesture(data: object, size_wh: tuple[int, int]) -> Gesture:
    """A gesture as the browser sends it; what reaches over the picture's edge is cut there.

    Args:
        data: An object with "type" ("click", "drag" or "stroke") and the values of that type.
        size_wh: Width and height of the picture.

    Raises:
        PromptError: It is of another form, or a number is not finite.
    """
    try:
        return _read(data, size_wh)
    except (KeyError, TypeError, ValueError) as error:
        if isinstance(error, PromptError):
            raise
        raise PromptError(
            f"the canvas sent {str(data)[:80]}, which is no gesture.\n"
            "  Reload the page; expected a click, a drag or a stroke in pixels.",
            code="prompt_syntax",
        ) from error


def _read(data: object, size_wh: tuple[int, int]) -> Gesture:
    if not isinstance(data, Mapping):
        raise TypeError
    if data["type"] == "click":
        xy = _inside([data["xy"]], size_wh)[0]
        return Click(xy, bool(data["positive"]), bool(data["join"]))
    if data["type"] == "drag":
        x1, y1, x2, y2 = data["box"]
        corners = _inside([(x1, y1), (x2, y2)], size_wh, edge=0)
        xs, ys = zip(*corners, strict=True)
        return Drag((min(xs), min(ys), max(xs), max(ys)))
    if data["type"] == "stroke":
        line = list(data["xy"])[:MAX_STROKE_POINTS]
        (radius, _), *_ = _finite([(data["radius"], 0)])
        radius = min(max(radius, 0.5), max(size_wh))
        return Stroke(tuple(_inside(line, size_wh)), radius, bool(data["positive"]))
    raise ValueError


def _inside(pairs: list[Xy], size_wh: tuple[int, int], edge: int = 1) -> list[Xy]:
    """Points moved to the nearest place on the picture; `edge` 1 keeps them on a pixel."""
    width, height = size_wh
    return [
        (min(max(x, 0.0), width - edge * 0.5), min(max(y, 0.0), height - edge * 0.5))
        for x, y in _finite(pairs)
    ]


def _finite(pairs: list[Xy]) -> tuple[Xy, ...]:
    return tuple(Points(pairs).xy)  # the package's own check of numbers


def begins_new(gesture: Gesture, selected: Region | None, size_wh: tuple[int, int]) -> bool:
    """Whether a gesture points at something new, not at the selected region.

    A stroke of the brush goes on with the painted region that it touches.

    Args:
        gesture: What was done.
        selected: The selected region, if there is one.
        size_wh: Width and height of the picture.
    """
    if isinstance(gesture, Drag) or selected is None:
        return True
    if isinstance(gesture, Click):
        return not gesture.join
    painted = isinstance(selected.prompt, Mask)
    touches = painted and bool((paint(gesture, size_wh) & selected.mask).any())
    return gesture.positive and not touches


def prompt_of(gesture: Gesture, selected: Region | None, size_wh: tuple[int, int]) -> Prompt:
    """The prompt that a gesture makes, alone or together with the region it corrects.

    Args:
        gesture: What was done.
        selected: The selected region, if there is one.
        size_wh: Width and height of the picture.

    Raises:
        PromptError: Something is excluded and nothing is selected, or nothing is left.
    """
    alone = begins_new(gesture, selected, size_wh)
    if isinstance(gesture, Drag):
        return Box(*gesture.box_xyxy)
    if alone and not gesture.positive:
        raise PromptError(
            "there is no selected region to take this away from.\n"
            "  Click on something first, then exclude what does not belong to it.",
            code="prompt_missing",
        )
    if isinstance(gesture, Click):
        return _with_point(gesture, None if alone else selected)
    return _painted(gesture, None if alone else selected, size_wh)


def _with_point(click: Click, selected: Region | None) -> Points:
    prompt = selected.prompt if selected is not None else None
    label = int(click.positive)
    if isinstance(prompt, Points):
        if len(prompt.xy) >= MAX_POINTS:
            raise PromptError(
                f"a region takes {MAX_POINTS} points here.\n  Undo some, or begin a new region.",
                code="prompt_syntax",
            )
        return Points([*prompt.xy, click.xy], [*(prompt.labels or ()), label], prompt.box)
    if isinstance(prompt, Box):
        return Points([click.xy], [label], prompt)
    if selected is not None and selected.mask.any():  # painted: its box says where, the point what
        return Points([click.xy], [label], Box(*selected.box_xyxy))
    return Points([click.xy], [label])


def _painted(stroke: Stroke, selected: Region | None, size_wh: tuple[int, int]) -> Mask:
    painted = paint(stroke, size_wh)
    if selected is None:
        return Mask(painted)
    return Mask(selected.mask | painted if stroke.positive else selected.mask & ~painted)


def paint(stroke: Stroke, size_wh: tuple[int, int]) -> BoolMask:
    """The pixels that a stroke covers, bool (H, W)."""
    from PIL import Image, ImageDraw

    picture = Image.new("1", size_wh)
    canvas = ImageDraw.Draw(picture)
    radius = stroke.radius_px
    if len(stroke.xy) > 1:
        canvas.line(list(stroke.xy), fill=1, width=max(1, round(2 * radius)), joint="curve")
    for x, y in (stroke.xy[0], stroke.xy[-1]):
        canvas.ellipse((x - radius, y - radius, x + radius, y + radius), fill=1)
    return np.asarray(picture, dtype=bool)
