"""Masks that conversions trip over, and answered images made of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from perceive_anything.export import ExportedImage
from perceive_anything.masks import mask_to_box_xyxy
from perceive_anything.results import ImageResult, Region
from perceive_anything.types import Box

HEIGHT, WIDTH = 20, 30
RECORDED = Path(__file__).parent / "golden" / "exports"


def odd_masks() -> dict[str, np.ndarray]:
    """Empty, full, one pixel, one row, one with a hole, one in two parts."""
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    empty = np.zeros((HEIGHT, WIDTH), bool)
    pixel, line, parts = empty.copy(), empty.copy(), empty.copy()
    pixel[19, 29], line[3] = True, True
    parts[2:8, 3:10] = parts[11:18, 15:28] = True
    distance = (columns - 14) ** 2 + (rows - 9) ** 2
    ring = (distance <= 49) & (distance > 9)
    return {
        "empty": empty,
        "full": ~empty,
        "pixel": pixel,
        "line": line,
        "ring": ring,
        "parts": parts,
    }


def make_region(number: int, mask: np.ndarray, label: str | None = "cat") -> Region:
    """A region of a mask, with all that an answer says."""
    return Region(
        id=number,
        prompt=Box(1, 2, 20, 18),
        mask=mask,
        box_xyxy=mask_to_box_xyxy(mask) or (0, 0, 0, 0),
        score=0.75,
        label=label,
        explanation='It says "<meow>" & purrs.',
        caption="一只猫" if number % 2 else "a cat",
        label_confidence=0.25 if label else None,
        uncertain=bool(label),
    )


def make_result(source: str, masks: dict[str, np.ndarray]) -> ImageResult:
    """An answered image of 30x20 whose labels are the names of its masks."""
    regions = [make_region(i, mask, name) for i, (name, mask) in enumerate(masks.items())]
    return ImageResult(source, (WIDTH, HEIGHT), "nano", "en", tuple(regions))


def exported(name: str, masks: dict[str, np.ndarray], folder: Path = Path()) -> ExportedImage:
    """The same for the writers."""
    return ExportedImage(make_result(name, masks).to_json(), name, folder / name)
