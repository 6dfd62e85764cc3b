"""Records: one image or clip and its regions, as every reader of training data makes them.

Knows where the pixels lie (a file and a byte range) and how to decode them.
Refuses to know file layouts, augmentation, and texts written from the records.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from perceive_anything.errors import DataError
from perceive_anything.masks import decode_rle

__all__ = [
    "TEXT_FIELDS",
    "BoxXyxy",
    "ByteRange",
    "Click",
    "ClipRecord",
    "ImageRecord",
    "RegionRecord",
    "TrackRecord",
]

# Fields of a region's `extra` that answer a task.
TEXT_FIELDS = {"caption": "caption", "explanation": "explain", "description": "describe"}

BoxXyxy = tuple[float, float, float, float]
Click = tuple[float, float, int]  # x, y in pixels of the stored image; 1 inside, 0 outside


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
        extra: Every other field of the annotation, unchanged. `turns` holds texts to learn as
            (question, answer) pairs, the question without the image marker; `points` holds
            clicks; `points_only` says that the box was drawn around them and nobody annotated it.
            `phrases` and `attributes` hold texts, `transcription` what is written there.
    """

    id: int
    label: str
    label_zh: str | None
    box_xyxy: BoxXyxy
    rle: Mapping[str, Any] | None
    kind: str
    extra: Mapping[str, Any] = field(default_factory=dict)

    @property
    def phrases(self) -> tuple[str, ...]:
        """What people said to point the region out, or how they described it."""
        return tuple(self.extra.get("phrases", ()))

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
        split: "train", "val", or what else the source calls it.
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
        return _on_white(self._open())

    def load_rgba(self) -> np.ndarray:
        """The image as uint8 RGBA (H, W, 4); opaque where the file has no alpha."""
        return np.ascontiguousarray(self._open().convert("RGBA"))

    def _open(self) -> Image.Image:
        return _decode(self.handle, f'image "{self.id}"')


@dataclass(frozen=True, slots=True)
class TrackRecord:
    """One object of a clip; frames are counted within the clip, from 0.

    Args:
        id: Number of the object within its clip.
        label: English name, lower case; empty where only texts are known.
        label_zh: Chinese name, None where unknown.
        boxes_xyxy: By frame, for some frames; pixels as in `RegionRecord.box_xyxy`.
        points: Clicks by frame, for some frames.
        rles: COCO RLE by frame, for some frames.
        extra: Every other field of the annotation, unchanged; `turns`, `phrases` and `attributes`
            as in `RegionRecord`. `annotated_frames` are those somebody looked at: where one of
            them has no box and no mask, the object is hidden.
    """

    id: int
    label: str
    label_zh: str | None
    boxes_xyxy: Mapping[int, BoxXyxy]
    points: Mapping[int, tuple[Click, ...]] = field(default_factory=dict)
    rles: Mapping[int, Mapping[str, Any]] = field(default_factory=dict)
    extra: Mapping[str, Any] = field(default_factory=dict)

    @property
    def phrases(self) -> tuple[str, ...]:
        """What people said to point the object out, or how they described it."""
        return tuple(self.extra.get("phrases", ()))


@dataclass(frozen=True, slots=True)
class ClipRecord:
    """One clip with its tracked objects; the pixels stay on disk until `load` is called.

    Args:
        id: Unique name of the clip.
        source: Where the clip comes from.
        license: Licence or terms of the clip.
        split: "train", "val", or what else the source calls it.
        size_wh: Size of the stored frames in pixels.
        frames: Where the encoded bytes of each frame lie, in order.
        regions: The tracked objects.
        captions: Human captions of the whole clip.
    """

    id: str
    source: str
    license: str
    split: str
    size_wh: tuple[int, int]
    frames: tuple[ByteRange, ...]
    regions: tuple[TrackRecord, ...]
    captions: tuple[str, ...] = ()

    def load(self, index: int) -> np.ndarray:
        """Frame number `index` as uint8 RGB (H, W, 3); transparent pixels become white."""
        return _on_white(_decode(self.frames[index], f'frame {index} of "{self.id}"'))


def _decode(handle: ByteRange, name: str) -> Image.Image:
    try:
        image = Image.open(io.BytesIO(handle.read()))
        image.load()
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DataError(
            f"{name} in {handle.path} cannot be decoded: {error}.\n"
            "  The file may be incomplete; compare its size or copy it again.",
            code="bad_record",
        ) from error
    return ImageOps.exif_transpose(image)


def _on_white(image: Image.Image) -> np.ndarray:
    if "A" in image.getbands() or "transparency" in image.info:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, (255, 255, 255, 255))
        image = Image.alpha_composite(white, image)
    return np.ascontiguousarray(image.convert("RGB"))
