"""A second look at small regions: their surroundings fill the model's input for a finer mask.

Knows crops of a picture, prompts in their pixels and how masks are asked for; no text. The idea is
that of the focal prompts of Describe Anything (arXiv 2504.16072), here for masks alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from perceive_anything.masks import BoolMask, closer_window, mask_to_box_xyxy
from perceive_anything.results import Region
from perceive_anything.types import Box, Points, Prompt

CONTEXT = 4.0  # side of what is looked at, in longest sides of the region
MOST_AT_ONCE = 8
Window = tuple[int, int, int, int]
Ask = Callable[[list[np.ndarray], list[Prompt]], tuple[list[BoolMask], list[float]]]


def look_closer(
    array: np.ndarray, regions: Sequence[Region], share: float, ask: Ask
) -> list[Region]:
    """The regions, the small ones with the mask of a second look.

    Args:
        array: The picture, uint8 (H, W, 3).
        regions: What the first look found; those that no box was given for stay as they are.
        share: A box is small if both its sides are below this share of the picture's.
        ask: From crops and one prompt each to masks of the crops' sizes and scores.
    """
    height, width = array.shape[:2]
    found = list(regions)
    windows: dict[int, Window] = {}
    for row, region in enumerate(regions):
        box = box_of(region.prompt)
        if box is not None and _is_small(box, (width, height), share):
            windows[row] = closer_window(box.xyxy, (width, height), CONTEXT)
    rows = list(windows)
    for start in range(0, len(rows), MOST_AT_ONCE):
        some = rows[start : start + MOST_AT_ONCE]
        crops = [array[y1:y2, x1:x2] for x1, y1, x2, y2 in (windows[row] for row in some)]
        prompts = [moved(regions[row].prompt, windows[row]) for row in some]
        for row, mask, score in zip(some, *ask(crops, prompts), strict=True):
            found[row] = pasted(regions[row], mask, score, windows[row])
    return found


def box_of(prompt: Prompt) -> Box | None:
    """The box that a prompt is or has; what a click found is too unsure to look closer at."""
    if isinstance(prompt, Points):
        return prompt.box
    return prompt if isinstance(prompt, Box) else None


def _is_small(box: Box, size_wh: tuple[int, int], share: float) -> bool:
    """Whether both sides of a box are below a share of the picture's."""
    return max((box.x2 - box.x1) / size_wh[0], (box.y2 - box.y1) / size_wh[1]) < share


def moved(prompt: Prompt, window: Window) -> Prompt:
    """A prompt with a box in the pixels of a window; points outside it are dropped."""
    if isinstance(prompt, Box):
        return _moved_box(prompt, window)
    assert isinstance(prompt, Points)
    assert prompt.box is not None
    x0, y0, right, bottom = window
    box, near = _moved_box(prompt.box, window), []
    for (x, y), label in zip(prompt.xy, prompt.labels or (), strict=True):
        if x0 <= x < right and y0 <= y < bottom:
            near.append((x - x0, y - y0, label))
    if not near:
        return box
    return Points([(x, y) for x, y, _ in near], labels=[label for *_, label in near], box=box)


def _moved_box(box: Box, window: Window) -> Box:
    x0, y0, right, bottom = window
    return Box(
        max(box.x1 - x0, 0), max(box.y1 - y0, 0), min(box.x2, right) - x0, min(box.y2, bottom) - y0
    )


def pasted(region: Region, mask: BoolMask, score: float, window: Window) -> Region:
    """The region with the mask that was found in a window of its picture."""
    x1, y1, x2, y2 = window
    whole = np.zeros_like(region.mask)
    whole[y1:y2, x1:x2] = mask
    box = mask_to_box_xyxy(whole) or (0, 0, 0, 0)
    return replace(region, mask=whole, box_xyxy=box, score=score)
