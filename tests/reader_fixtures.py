"""Files for miniature datasets: pictures of 30 x 20, JSON, and a reader that says what it told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from perceive_anything.data.readers.registry import read_dataset
from perceive_anything.masks import encode_rle

SIZE_WH = (30, 20)
SQUARE = np.zeros((20, 30), bool)
SQUARE[4:10, 5:15] = True  # x 5 to 15, y 4 to 10
OTHER = np.zeros((20, 30), bool)
OTHER[12:18, 20:28] = True
POLYGON = [[5, 4, 15, 4, 15, 10, 5, 10]]


def picture(path: Path, shade: int = 9) -> Path:
    """A picture of one colour."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", SIZE_WH, (shade, 8, 7)).save(path)
    return path


def write(path: Path, content: Any) -> Path:
    """Text, or anything else as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = content if isinstance(content, str) else json.dumps(content, ensure_ascii=False)
    path.write_text(text, encoding="utf-8")
    return path


def indexed(path: Path, numbers: np.ndarray) -> Path:
    """A PNG of object numbers with a palette, as DAVIS has."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(numbers.astype(np.uint8), "P")
    image.putpalette([value for n in range(256) for value in (n, 255 - n, n // 2)])
    image.save(path)
    return path


def packed(mask: np.ndarray) -> dict[str, Any]:
    """COCO's compressed RLE."""
    return encode_rle(mask)


def runs(mask: np.ndarray) -> dict[str, Any]:
    """COCO's RLE as a list of runs, as crowds have it."""
    flat = mask.ravel(order="F")
    ends = np.flatnonzero(np.diff(flat)) + 1
    return {"size": list(mask.shape), "counts": np.diff([0, *ends, flat.size]).tolist()}


def read(name: str, root: Path, split: str = "train", **more: Any) -> tuple[list, list[str]]:
    """The records of a dataset, and the lines about rows that were left out."""
    told: list[str] = []
    records = list(read_dataset(name, root, split, report=told.append, **more))
    if told and "rows left out" in told[-1]:
        assert int(told.pop().split(", ")[1].split()[0]) == len(told)
    return records, told
