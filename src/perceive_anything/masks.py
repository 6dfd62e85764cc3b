"""Masks as arrays, COCO RLE, polygons and boxes; the only module that imports pycocotools.

Knows geometry only. Arrays are bool (H, W); boxes are x1, y1, x2, y2 with x2, y2 exclusive.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

MOST_SIGNS = 7  # of a packed number: 35 bits
BoolMask = npt.NDArray[np.bool_]


def encode_rle(mask: BoolMask) -> dict[str, Any]:
    """COCO RLE of a mask: {"size": [H, W], "counts": str}; JSON-able, column-major as in COCO."""
    from pycocotools import mask as coco

    rle = coco.encode(np.asfortranarray(mask, dtype=np.uint8))
    return {"size": [int(n) for n in rle["size"]], "counts": rle["counts"].decode("ascii")}


def decode_rle(rle: Mapping[str, Any]) -> BoolMask:
    """The mask of a compressed COCO RLE (`counts` as str or bytes)."""
    from pycocotools import mask as coco

    decoded: BoolMask = coco.decode(_packed(rle)).astype(bool)
    return decoded


def mask_to_box_xyxy(mask: BoolMask) -> tuple[int, int, int, int] | None:
    """The tightest box, x2 and y2 exclusive; None for an empty mask."""
    columns, rows = np.flatnonzero(mask.any(0)), np.flatnonzero(mask.any(1))
    if not len(columns):
        return None
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def mask_area(mask: BoolMask) -> int:
    """Number of pixels inside."""
    return int(np.count_nonzero(mask))


def mask_iou(first: BoolMask, second: BoolMask) -> float:
    """Intersection over union of two masks of one shape; 1 for two empty ones."""
    union = np.count_nonzero(first | second)
    return float(np.count_nonzero(first & second) / union) if union else 1.0


def polygons_to_mask(polygons: Sequence[Sequence[float]], shape_hw: tuple[int, int]) -> BoolMask:
    """The union of COCO polygons [x1, y1, x2, y2, ...] as a mask."""
    from pycocotools import mask as coco

    height, width = shape_hw
    if not polygons:
        return np.zeros((height, width), dtype=bool)
    rle = coco.merge(coco.frPyObjects([list(p) for p in polygons], height, width))
    filled: BoolMask = coco.decode(rle).astype(bool)
    return filled


def segmentation_to_rle(
    segmentation: Mapping[str, Any] | Sequence[Sequence[float]], shape_hw: tuple[int, int]
) -> dict[str, Any]:
    """Any `segmentation` of a COCO file (polygons, or RLE as a list or packed) as packed RLE.

    Raises:
        ValueError: It is of none of these kinds, or of another size.
    """
    from pycocotools import mask as coco

    if isinstance(segmentation, Mapping):
        if tuple(segmentation["size"]) != tuple(shape_hw):
            raise ValueError(f"a mask of {segmentation['size']} in an image of {list(shape_hw)}")
        packed = dict(segmentation)
        if isinstance(packed["counts"], list):
            packed = coco.frPyObjects(packed, *shape_hw)
        _check_counts(packed["counts"], *shape_hw)
        return encode_rle(decode_rle(packed))
    return encode_rle(polygons_to_mask(segmentation, shape_hw))


def rle_to_box_xyxy(rle: Mapping[str, Any]) -> tuple[int, int, int, int] | None:
    """The tightest box of a packed RLE, x2 and y2 exclusive; None for an empty mask."""
    from pycocotools import mask as coco

    left, top, width, height = (int(n) for n in coco.toBbox(_packed(rle)))
    return (left, top, left + width, top + height) if width and height else None


def union_rle(rles: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The union of packed RLEs of one size."""
    from pycocotools import mask as coco

    union = coco.merge([_packed(rle) for rle in rles])
    return {"size": [int(n) for n in union["size"]], "counts": union["counts"].decode("ascii")}


def _check_counts(counts: str | bytes, height: int, width: int) -> None:
    """See that packed run lengths cover a mask exactly.

    pycocotools reads past the end of a text that stops within a number, and leaves memory as it was
    where the runs are too short.

    Raises:
        ValueError: They do not.
    """
    packed = counts.encode("latin-1", "replace") if isinstance(counts, str) else counts
    signs = np.frombuffer(packed, np.uint8).astype(np.int64) - 48
    ends = np.flatnonzero(signs < 32)  # larger ones say that more of the number follow
    lengths = np.diff(ends, prepend=-1)
    whole = len(ends) and ends[-1] == len(signs) - 1 and lengths.max() <= MOST_SIGNS
    if not whole or signs.min() < 0 or signs.max() > 63:
        raise ValueError("its counts are not packed as COCO does")
    starts = ends - lengths + 1
    places = np.arange(len(signs)) - np.repeat(starts, lengths)
    runs = np.add.reduceat((signs & 31) << 5 * places, starts)
    runs -= np.where(signs[ends] & 16, 1 << 5 * lengths, 0)
    for first in (1, 2):  # all but the first three are differences to the run before the last
        runs[first::2] = runs[first::2].cumsum()
    if runs.min() < 0 or runs.sum() != height * width:
        raise ValueError(f"its counts cover {runs.sum()} pixels of {width}x{height}")


def mask_to_polygons(mask: BoolMask) -> list[list[float]]:
    """Outlines as COCO polygons.

    Polygons lose what they cannot say: holes, and areas of one or two pixels.
    """
    from supervision.detection.utils.converters import mask_to_polygons as trace

    return [[float(n) for n in polygon.flatten()] for polygon in trace(mask)]


def without_small_parts(mask: BoolMask, min_area: int) -> BoolMask:
    """The mask with small holes filled and small islands removed, as SAM 2 does.

    Args:
        mask: Boolean (H, W).
        min_area: Parts of fewer pixels are small; 0 changes nothing. The largest island stays.
    """
    if min_area <= 0:
        return mask
    for inside in (False, True):
        mask = _without(mask, min_area, inside=inside)
    return mask


def largest_part(mask: BoolMask) -> BoolMask:
    """The largest connected part of a mask; an empty one stays empty."""
    return _without(mask, mask.size + 1, inside=True)


def _without(mask: BoolMask, min_area: int, *, inside: bool) -> BoolMask:
    """Turn over the small connected parts of the mask, or of what is around it."""
    from scipy.ndimage import label

    parts, _ = label(mask == inside, np.ones((3, 3)))
    areas = np.bincount(parts.ravel())
    small = areas < min_area
    small[0] = False  # the other side
    if inside and len(areas) > 1 and small[1:].all():
        small[1 + areas[1:].argmax()] = False
    turned: BoolMask = mask ^ small[parts]
    return turned


def closer_window(
    box_xyxy: tuple[float, float, float, float], size_wh: tuple[int, int], context: float
) -> tuple[int, int, int, int]:
    """The square around a box that a second look sees, moved and cut to fit the picture.

    Args:
        box_xyxy: In pixels.
        size_wh: Of the picture.
        context: Side of the square, in longest sides of the box; 32 pixels at least.

    Returns:
        x1, y1, x2, y2 in whole pixels, the last two exclusive.
    """
    x1, y1, x2, y2 = box_xyxy
    wanted = max(32, round(max(x2 - x1, y2 - y1) * context))
    edges = []
    for middle, length in zip(((x1 + x2) / 2, (y1 + y2) / 2), size_wh, strict=True):
        side = min(wanted, length)
        start = min(max(0, round(middle - side / 2)), length - side)
        edges.append((start, start + side))
    (left, right), (top, bottom) = edges
    return left, top, right, bottom


def central_point(mask: BoolMask) -> tuple[float, float]:
    """The (x, y) deepest inside the mask, where one would click; centre of a pixel.

    Depth is the number of times the mask can be eroded by a cross before the pixel is lost.

    Raises:
        ValueError: The mask is empty.
    """
    if not mask.any():
        raise ValueError("an empty mask has no central point")
    inside = np.pad(mask, 1)
    while True:
        eroded = inside.copy()
        eroded[1:] &= inside[:-1]
        eroded[:-1] &= inside[1:]
        eroded[:, 1:] &= inside[:, :-1]
        eroded[:, :-1] &= inside[:, 1:]
        if not eroded.any():
            break
        inside = eroded
    deepest = np.argwhere(inside)
    y, x = deepest[np.abs(deepest - deepest.mean(0)).sum(1).argmin()]
    return float(x) - 0.5, float(y) - 0.5


def _packed(rle: Mapping[str, Any]) -> dict[str, Any]:
    """An RLE as pycocotools takes it."""
    counts = rle["counts"]
    packed = counts.encode("ascii") if isinstance(counts, str) else counts
    return {"size": list(rle["size"]), "counts": packed}
