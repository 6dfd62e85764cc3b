"""Simulated prompts for training and evaluation: jittered boxes, clicks, masks.

Knows masks as low-resolution arrays and boxes in pixels of the model's square input; no models.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

import numpy as np
import torch

from perceive_anything.modeling.segmenter import (
    BOX_LABELS,
    PAD_LABEL,
    PADDING_ROW,
    PromptTensors,
)

Click = tuple[float, float, int]


@dataclass(frozen=True, slots=True)
class SimulatedPrompt:
    """One prompt: clicks (x, y, label) in pixels of the model input and, maybe, a mask."""

    clicks: tuple[Click, ...]
    mask: np.ndarray | None = None


def box_prompt(
    box_xyxy: tuple[float, ...], rng: random.Random, jitter: float = 0.0
) -> SimulatedPrompt:
    """A box; with jitter each edge moves by up to that share of the box's width or height."""
    x1, y1, x2, y2 = box_xyxy
    wide, high = (x2 - x1) * jitter, (y2 - y1) * jitter
    moved = [
        edge + rng.uniform(-1, 1) * span
        for edge, span in zip(box_xyxy, (wide, high) * 2, strict=True)
    ]
    return SimulatedPrompt(
        ((moved[0], moved[1], BOX_LABELS[0]), (moved[2], moved[3], BOX_LABELS[1]))
    )


def click_prompt(
    mask: np.ndarray, cell: float, rng: random.Random, num_clicks: int
) -> SimulatedPrompt:
    """Clicks as a person corrects: the first inside, others inside or just outside the region.

    Args:
        mask: (h, h) share of each cell that the region covers, 0..1.
        cell: Pixels of the model input a cell.
        rng: Source of chance.
        num_clicks: How many clicks, 1 or more.
    """
    inside = mask >= min(0.5, float(mask.max()))
    labels = [1, *(int(rng.random() < 0.5) for _ in range(num_clicks - 1))]
    near = _grow(inside) & ~(mask > 0)
    clicks = []
    for label in labels:
        y, x = random_cell(inside if label or not near.any() else near, rng)
        clicks.append(
            ((x + rng.random()) * cell, (y + rng.random()) * cell, label if near.any() else 1)
        )
    return SimulatedPrompt(tuple(clicks))


def central_click(mask: np.ndarray, cell: float) -> SimulatedPrompt:
    """The click furthest from the region's edge, as SAM is evaluated with one point."""
    y, x = deepest_cell(mask >= min(0.5, float(mask.max())))
    return SimulatedPrompt((click_at(x, y, cell, 1),))


def click_at(x: int, y: int, cell: float, label: int) -> Click:
    """A click in the middle of a cell."""
    return (x + 0.5) * cell, (y + 0.5) * cell, label


def random_cell(cells: np.ndarray, rng: random.Random) -> tuple[int, int]:
    """Row and column of any set cell."""
    found = np.argwhere(cells)
    y, x = found[rng.randrange(len(found))]
    return int(y), int(x)


def deepest_cell(cells: np.ndarray) -> tuple[int, int]:
    """Row and column of the set cell furthest from any that is not set."""
    inside = np.pad(cells, 1)
    depth = np.zeros(inside.shape)
    while inside.any():
        depth += inside
        inside = _shrink(inside)
    y, x = np.unravel_index(depth[1:-1, 1:-1].argmax(), cells.shape)
    return int(y), int(x)


def mask_prompt(mask: np.ndarray) -> SimulatedPrompt:
    """The region itself as a mask; its sparse part is "no point"."""
    return SimulatedPrompt(((0.0, 0.0, PAD_LABEL),), mask)


def stack_prompts(
    prompts: list[SimulatedPrompt], image_index: list[int], side: int
) -> PromptTensors:
    """Prompts of any kinds -> one batch, padded; `side` is that of the model input."""
    longest = max(len(prompt.clicks) for prompt in prompts)
    rows = [
        [*prompt.clicks, *[(0.0, 0.0, PADDING_ROW)] * (longest - len(prompt.clicks))]
        for prompt in prompts
    ]
    table = torch.tensor(rows, dtype=torch.float32)
    masks = None
    if any(prompt.mask is not None for prompt in prompts):
        masks = torch.stack([_full_size(prompt.mask, side) for prompt in prompts])
    return PromptTensors(table[..., :2], table[..., 2].long(), torch.tensor(image_index), masks)


def _full_size(mask: np.ndarray | None, side: int) -> torch.Tensor:
    if mask is None:
        return torch.zeros(1, side, side)
    factor = side // len(mask)
    hard = torch.from_numpy((mask >= 0.5).astype(np.float32))
    return hard.repeat_interleave(factor, 0).repeat_interleave(factor, 1)[None]


def _grow(cells: np.ndarray) -> np.ndarray:
    """Cells within a tenth of the side of a set cell (square neighbourhood)."""
    reach = len(cells) // 10
    ys, xs = np.nonzero(cells)
    grown = np.zeros_like(cells)
    grown[
        max(0, ys.min() - reach) : ys.max() + reach + 1,
        max(0, xs.min() - reach) : xs.max() + reach + 1,
    ] = True
    return grown


def _shrink(cells: np.ndarray) -> np.ndarray:
    up, down = np.roll(cells, 1, 0), np.roll(cells, -1, 0)
    left, right = np.roll(cells, 1, 1), np.roll(cells, -1, 1)
    return cells & up & down & left & right
