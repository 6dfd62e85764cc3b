"""Records: one image and its named regions, as read from a pack.

Knows where the pixels lie (a file and a byte range) and how to decode them.
Refuses to know pack layouts, augmentation, and texts written from the records.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from perceive_anything.errors import DataError
from perceive_anything.masks import decode_rle

__all__ = ["ByteRange", "ImageRecord", "RegionRecord"]


@dataclass(frozen=True, slots=True)
class ByteRange:
    """Where the bytes of one file lie; a plain value, so records can travel between processes.

    Args:
        path: The file that holds the bytes, such as a tar.
        offset: First byte.
        size: Number of bytes; None means up to the end of the file.
    """

    path: str
    offset: int = 0
    size: int | None = None

    def read(self) -> bytes:
        """The bytes, read from disk on every call."""
        with Path(self.path).open("rb") as stream:
            stream.seek(self.offset)
            return stream.read(-1 if self.size is None else self.size)


@dataclass(frozen=True, slots=True)
class RegionRecord:
    """One named region of an image.

    Args:
        id: Number of the region within its image.
        label: English name, lower case.
        label_zh: Chinese name, None where unknown.
        box_xyxy: Pixels of the stored image; x2 and y2 are exclusive.
        rle: COCO RLE of the stored image, None where the mask is unknown.
        kind: "instance", "part", "stuff" or "whole-image".
        extra: Every other field of the annotation, unchanged.
    """

    id: int
    label: str
    label_zh: str | None
    box_xyxy: tuple[float, float, float, float]
    rle: Mapping[str, Any] | None
    kind: str
    extra: Mapping[str, Any] = field(default_factory=dict)

    def mask(self) -> np.ndarray | None:
        """The mask as bool (H, W), or None where it is unknown."""
        return None if self.rle is None else decode_rle(dict(self.rle))


@dataclass(frozen=True, slots=True)
class ImageRecord:
    """One image with its regions; the pixels stay on disk until `load` is called.

    Args:
        id: Unique name of the image.
        source: Where the image comes from.
        license: Licence or terms of the image.
        split: "train" or "val".
        size_wh: Size of the stored image in pixels.
        captions: Human captions of the whole image.
        regions: The named regions.
        handle: Where the encoded bytes lie.
    """

    id: str
    source: str
    license: str
    split: str
    size_wh: tuple[int, int]
    captions: tuple[str, ...]
    regions: tuple[RegionRecord, ...]
    handle: ByteRange

    def load(self) -> np.ndarray:
        """The image as uint8 RGB (H, W, 3); transparent pixels become white."""
        image = self._open()
        if "A" in image.getbands() or "transparency" in image.info:
            image = image.convert("RGBA")
            white = Image.new("RGBA", image.size, (255, 255, 255, 255))
            image = Image.alpha_composite(white, image)
        return np.ascontiguousarray(image.convert("RGB"))

    def load_rgba(self) -> np.ndarray:
        """The image as uint8 RGBA (H, W, 4); opaque where the file has no alpha."""
        return np.ascontiguousarray(self._open().convert("RGBA"))

    def _open(self) -> Image.Image:
        try:
            image = Image.open(io.BytesIO(self.handle.read()))
            image.load()
        except (OSError, UnidentifiedImageError) as error:
            raise DataError(
                f'image "{self.id}" in {self.handle.path} cannot be decoded: {error}.\n'
                "  The pack may be incomplete; compare its size or copy it again.",
                code="bad_record",
            ) from error
        return ImageOps.exif_transpose(image)
