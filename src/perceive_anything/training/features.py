"""Frozen trunk features on disk: each picture goes through the trunk once.

Knows records, the trunk and memory-mapped arrays. A cache holds, a record, the four stage maps
before their LayerNorms as float16.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from perceive_anything.data.schema import ImageRecord
from perceive_anything.modeling import EfficientNetLiteModel
from perceive_anything.training.arrays import ArrayCache, digest

STRIDES = (4, 8, 16, 32)
IMAGE_MEAN, IMAGE_STD = 127 / 255, 128 / 255


def to_pixels(image: np.ndarray, side: int) -> Tensor:
    """uint8 (H, W, 3) -> normalised float (3, side, side), aspect ratio not kept."""
    resized = Image.fromarray(image).resize((side, side), Image.Resampling.BICUBIC)
    array = np.asarray(resized, dtype=np.float32) / 255
    return torch.from_numpy((array - IMAGE_MEAN) / IMAGE_STD).permute(2, 0, 1)


def stage_shapes(side: int, channels: Sequence[int]) -> dict[str, tuple[int, ...]]:
    """Names and shapes of one picture's raw stage maps."""
    return {
        f"stride{stride}": (width, side // stride, side // stride)
        for stride, width in zip(STRIDES, channels, strict=True)
    }


class FeatureCache(ArrayCache):
    """Stage maps of a list of records in one folder.

    Args:
        folder: Made if missing.
        records: The pictures; row i holds the maps of record i.
        side: Side of the square model input in pixels.
        channels: Width of each stage.
    """

    def __init__(
        self, folder: Path, records: Sequence[ImageRecord], side: int, channels: Sequence[int]
    ) -> None:
        self.records, self.side = records, side
        shapes = stage_shapes(side, channels)
        pictures = [f"{r.id} {r.handle.offset} {r.handle.size}" for r in records]
        super().__init__(folder, shapes, len(records), digest([shapes, *pictures]))

    @torch.no_grad()
    def build(
        self,
        trunk: EfficientNetLiteModel,
        batch_size: int = 16,
        report: Callable[[str], None] = print,
    ) -> None:
        """Encode what is missing."""
        if self.num_done == self.num_rows:
            return
        for start in range(self.num_done, self.num_rows, batch_size):
            batch = self.records[start : start + batch_size]
            self.append(trunk.stages(torch.stack([to_pixels(r.load(), self.side) for r in batch])))
            if start % (50 * batch_size) == 0:
                report(f"features: {self.num_done}/{self.num_rows}")
