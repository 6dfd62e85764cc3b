"""Pictures for the browser: a small copy of the photo, masks as two-colour PNGs, as data URIs.

Knows arrays and Pillow; coordinates stay those of the original, whatever the copy's size.
"""

from __future__ import annotations

import base64
import io
from typing import TYPE_CHECKING

from PIL import Image

from perceive_anything.draw import region_rgb
from perceive_anything.masks import largest_part, mask_to_box_xyxy

if TYPE_CHECKING:
    from perceive_anything.masks import BoolMask
    from perceive_anything.media import Pixels

PREVIEW_PX, MASK_PX = 1600, 1024


def shrunk_wh(size_wh: tuple[int, int], side_px: int) -> tuple[int, int]:
    """A size with at most so many pixels on its longer side, of the same shape."""
    scale = min(1.0, side_px / max(size_wh))
    return max(1, round(size_wh[0] * scale)), max(1, round(size_wh[1] * scale))


def photo_uri(array: Pixels, side_px: int = PREVIEW_PX) -> str:
    """A JPEG of a picture.

    Args:
        array: uint8 (H, W, 3).
        side_px: Its longer side at most.
    """
    picture = Image.fromarray(array)
    size_wh = shrunk_wh(picture.size, side_px)
    if size_wh != picture.size:
        picture = picture.resize(size_wh, Image.Resampling.BILINEAR, reducing_gap=2.0)
    return _uri(picture, "jpeg", quality=88)


def mask_uri(mask: BoolMask) -> str:
    """A PNG of a mask, opaque where it is true.

    Args:
        mask: Boolean (H, W).
    """
    picture = Image.fromarray(mask)
    size_wh = shrunk_wh(picture.size, MASK_PX)
    if size_wh != picture.size:
        picture = picture.resize(size_wh)
    return _uri(picture, "png", transparency=0)


def label_xy(mask: BoolMask) -> tuple[int, int]:
    """Where a label belongs: the upper left corner of a mask's largest part, specks left aside."""
    step = max(1, max(mask.shape) // 128)
    x1, y1, _, _ = mask_to_box_xyxy(largest_part(mask[::step, ::step])) or (0, 0, 0, 0)
    return x1 * step, y1 * step


def color_hex(position: int) -> str:
    """The colour of a region by its position; the same as in overlays and videos."""
    return "#{:02x}{:02x}{:02x}".format(*region_rgb(position))


def _uri(picture: Image.Image, kind: str, **options: int) -> str:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"
