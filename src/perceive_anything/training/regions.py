"""Annotated regions as arrays of the model's frame: what every stage samples from.

Knows records and the geometry of the square input; no models.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from perceive_anything.data.schema import ImageRecord, RegionRecord


@dataclass(frozen=True, slots=True)
class TrainingRegion:
    """One region of one record.

    Attributes:
        row: Row of its record in the feature cache.
        record: Its record.
        region: Its annotation.
        box_xyxy: Box in pixels of the model input.
        mask: (S/4, S/4) uint8, covered share of each cell times 255; None if unknown.
    """

    row: int
    record: ImageRecord
    region: RegionRecord
    box_xyxy: tuple[float, float, float, float]
    mask: np.ndarray | None

    def soft_mask(self) -> np.ndarray:
        """(S/4, S/4) float32 in 0..1."""
        return self.mask.astype(np.float32) / 255


def region_table(records: Sequence[ImageRecord], side: int) -> list[list[TrainingRegion]]:
    """The usable regions of each record; crowds and uncountable stuff are left out."""
    return [
        [
            make_region(row, record, region, side)
            for region in record.regions
            if region.kind != "stuff"
        ]
        for row, record in enumerate(records)
    ]


def make_region(row: int, record: ImageRecord, region: RegionRecord, side: int) -> TrainingRegion:
    """Scale a region to the square model input."""
    width, height = record.size_wh
    x1, y1, x2, y2 = region.box_xyxy
    box = (x1 * side / width, y1 * side / height, x2 * side / width, y2 * side / height)
    mask = region.mask()
    if mask is not None:
        small = Image.fromarray(mask * np.uint8(255)).resize((side // 4,) * 2, Image.Resampling.BOX)
        mask = np.asarray(small)
        if mask.max() < 32:  # next to nothing is left at this size
            mask = None
    return TrainingRegion(row, record, region, box, mask)
