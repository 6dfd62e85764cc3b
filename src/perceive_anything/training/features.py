"""Trunk features on disk: each picture goes through the trunk's first blocks once.

Knows records, the trunk and memory-mapped arrays. A cache holds, a record, the map at stride 4
before its LayerNorm as float16. Nothing before it ever learns; what follows from it may.
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

STRIDE = 4
IMAGE_MEAN, IMAGE_STD = 127 / 255, 128 / 255


def to_pixels(image: np.ndarray, side: int) -> Tensor:
    """uint8 (H, W, 3) -> normalised float (3, side, side), aspect ratio not kept."""
    resized = Image.fromarray(image).resize((side, side), Image.Resampling.BICUBIC)
    array = np.asarray(resized, dtype=np.float32) / 255
    return torch.from_numpy((array - IMAGE_MEAN) / IMAGE_STD).permute(2, 0, 1)


def fine_shape(side: int, trunk: EfficientNetLiteModel) -> dict[str, tuple[int, ...]]:
    """Name and shape of one picture's map at stride 4."""
    return {"stride4": (trunk.config.output_channels[0], side // STRIDE, side // STRIDE)}


class FeatureCache(ArrayCache):
    """Maps of a list of records in one folder.

    Args:
        folder: Made if missing.
        records: The pictures; row i holds the map of record i.
        side: Side of the square model input in pixels.
        trunk: Encodes the pictures.
    """

    def __init__(
        self, folder: Path, records: Sequence[ImageRecord], side: int, trunk: EfficientNetLiteModel
    ) -> None:
        self.records, self.side, self.trunk = records, side, trunk
        shapes = fine_shape(side, trunk)
        pictures = [f"{r.id} {r.handle.offset} {r.handle.size}" for r in records]
        super().__init__(folder, shapes, len(records), digest([shapes, *pictures]))

    @torch.no_grad()
    def build(self, report: Callable[[str], None] = print, batch_size: int = 16) -> None:
        """Encode what is missing."""
        if self.num_done == self.num_rows:
            return
        for start in range(self.num_done, self.num_rows, batch_size):
            batch = self.records[start : start + batch_size]
            pixels = torch.stack([to_pixels(record.load(), self.side) for record in batch])
            self.append([self.trunk.fine_stage(pixels.to(self.trunk.device))])
            if start % (50 * batch_size) == 0:
                report(f"features: {self.num_done}/{self.num_rows}")
