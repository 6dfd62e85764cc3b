"""Indexed PNG masks: a pixel's value is the number of its region, shown in colours by a palette.

Value 0 is no region, 1 the region 0 and so on. Where regions overlap the smaller one is seen.
"""

from __future__ import annotations

import io
import warnings
from collections import Counter
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import numpy as np
import numpy.typing as npt
from PIL import Image

from perceive_anything.export.files import write_bytes
from perceive_anything.export.records import ExportedImage

MOST_REGIONS = 255


def write_masks(images: Sequence[ExportedImage], folder: Path) -> list[Path]:
    """Write `NAME.png` for each image.

    Args:
        images: Those that only differ in their ending keep it: `NAME.jpg.png`.
        folder: Where to.

    Returns:
        The files.
    """
    names = picture_names([image.name for image in images])
    return [
        write_bytes(indexed_png(index_regions(image)), folder / name)
        for image, name in zip(images, names, strict=True)
    ]


def picture_names(names: Sequence[str]) -> list[str]:
    """Names of the PNG files that belong to images.

    Example:
        >>> picture_names(["cat.jpg", "dog.jpg", "dog.png"])
        ['cat.png', 'dog.jpg.png', 'dog.png.png']
    """
    stems = [PurePosixPath(name).with_suffix("") for name in names]
    counts = Counter(stems)
    return [
        f"{name if counts[stem] > 1 else stem}.png" for name, stem in zip(names, stems, strict=True)
    ]


def index_regions(image: ExportedImage) -> npt.NDArray[np.uint8]:
    """The number of the region at each pixel, (H, W); the first 255 regions with a warning."""
    width, height = image.size_wh
    regions = image.regions
    if len(regions) > MOST_REGIONS:
        warnings.warn(
            f'"{image.name}" has {len(regions)} regions; an indexed PNG holds {MOST_REGIONS}.',
            stacklevel=2,
        )
    index = np.zeros((height, width), np.uint8)
    numbered = list(enumerate((region.mask for region in regions[:MOST_REGIONS]), start=1))
    for number, mask in sorted(numbered, key=lambda pair: -int(pair[1].sum())):
        index[mask] = number
    return index


def indexed_png(index: npt.NDArray[np.uint8]) -> bytes:
    """A PNG with a palette whose pixels are the given values."""
    picture = Image.frombytes("P", index.shape[::-1], index.tobytes())
    picture.putpalette(_palette())
    with io.BytesIO() as file:
        picture.save(file, format="PNG")
        return file.getvalue()


def _palette() -> list[int]:
    """256 RGB colours far from each other: the bits of the number, spread over the channels."""
    numbers = np.arange(256)
    colours = np.zeros((256, 3), int)
    for bit in range(8):
        for channel in range(3):
            colours[:, channel] |= ((numbers >> channel) & 1) << (7 - bit)
        numbers = numbers >> 3
    flat: list[int] = colours.ravel().tolist()
    return flat
