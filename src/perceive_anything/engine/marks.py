"""Set-of-mark pictures: contour, box and number on the full picture, and the crop beside it.

Knows arrays. Refuses to know records and teachers. Nothing is filled, so that colours stay true.
"""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw
from scipy.ndimage import binary_dilation, binary_erosion

from perceive_anything.draw import font_for
from perceive_anything.masks import mask_to_box_xyxy

BoxXyxy = tuple[float, float, float, float]
MARK, RIM = (255, 40, 200), (255, 255, 255)
GAP_PX, CROP_MARGIN = 8, 0.2
MIN_ASPECT = 0.6  # of the crop, so that what is long and thin keeps its surroundings
MAX_ENLARGED = 4.0
MIN_FONT_PX = 14


@dataclass(frozen=True, slots=True)
class Target:
    """The region to mark, in pixels of the picture.

    Attributes:
        box_xyxy: Its box; None where only clicks are known, or it is not there.
        mask: bool (H, W), None where unknown.
    """

    box_xyxy: BoxXyxy | None
    mask: np.ndarray | None = None


def marked_pair(image: np.ndarray, target: Target, side_px: int) -> Image.Image:
    """The marked picture, and beside it the enlarged region with its contour alone.

    Args:
        image: uint8 RGB (H, W, 3).
        target: The region.
        side_px: Longest side of the left panel.
    """
    assert target.box_xyxy is not None
    left = marked(image, target, "1", side_px)
    right = _crop(image, target, left.height)
    pair = Image.new("RGB", (left.width + GAP_PX + right.width, left.height), "white")
    pair.paste(left, (0, 0))
    pair.paste(right, (left.width + GAP_PX, 0))
    return pair


def marked(
    image: np.ndarray, target: Target, tag: str, side_px: int, *, corner: bool = False
) -> Image.Image:
    """One picture with contour, box and tag.

    Args:
        image: uint8 RGB (H, W, 3).
        target: The region; without box and mask nothing is marked.
        tag: Number or words.
        side_px: Longest side of the result; pictures are never enlarged beyond twice their size.
        corner: Put the tag into the corner where it hides least, as in a storyboard; top left is
            the first choice.
    """
    scale = min(2.0, side_px / max(image.shape[:2]))
    picture = _scaled(Image.fromarray(image), scale)
    mask = _scaled_mask(target.mask, picture.size)
    line = max(2, round(max(picture.size) / 320))
    if mask is not None:
        picture = _outlined(picture, mask, line)
    canvas = ImageDraw.Draw(picture)
    box = tuple(v * scale for v in target.box_xyxy) if target.box_xyxy else None
    if box:
        _rectangle(canvas, box, line, picture.size)
    around = (0, 0, *picture.size) if corner or not box else box
    _tag(canvas, tag, around, (mask, box), picture.size)
    return picture


def jpeg(picture: Image.Image, quality: int) -> bytes:
    """A picture as the bytes that a teacher is sent; the same picture makes the same bytes."""
    stream = io.BytesIO()
    picture.save(stream, "JPEG", quality=quality)
    return stream.getvalue()


def _crop(image: np.ndarray, target: Target, height_px: int) -> Image.Image:
    x1, y1, x2, y2 = target.box_xyxy or (0, 0, 0, 0)
    least = MIN_ASPECT * max(x2 - x1, y2 - y1)
    margin_x, margin_y = (
        max(4.0, CROP_MARGIN * (b - a), (least - (b - a)) / 2) for a, b in ((x1, x2), (y1, y2))
    )
    height, width = image.shape[:2]
    left, top = max(0, int(x1 - margin_x)), max(0, int(y1 - margin_y))
    right, bottom = min(width, int(x2 + margin_x) + 1), min(height, int(y2 + margin_y) + 1)
    part = Image.fromarray(np.ascontiguousarray(image[top:bottom, left:right]))
    scale = min(MAX_ENLARGED, height_px / part.height, 1.4 * height_px / part.width)
    picture = _scaled(part, scale)
    if target.mask is not None:
        mask = _scaled_mask(target.mask[top:bottom, left:right], picture.size)
        picture = _outlined(picture, mask, 1) if mask is not None else picture
    framed = Image.new("RGB", (picture.width, height_px), "white")
    framed.paste(picture, (0, (height_px - picture.height) // 2))
    return framed


def _scaled(picture: Image.Image, scale: float) -> Image.Image:
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    if size == picture.size:
        return picture
    reducing = 2.0 if scale < 0.5 else None
    return picture.resize(size, Image.Resampling.BILINEAR, reducing_gap=reducing)


def _scaled_mask(mask: np.ndarray | None, size_wh: tuple[int, int]) -> np.ndarray | None:
    if mask is None or not mask.any():
        return None
    if mask.shape[::-1] == size_wh:
        return mask
    small = Image.fromarray(mask.astype(np.uint8) * 255).resize(size_wh, Image.Resampling.BILINEAR)
    scaled = np.asarray(small) > 127
    return scaled if scaled.any() else None


def _outlined(picture: Image.Image, mask: np.ndarray, line: int) -> Image.Image:
    """A bright line just inside the rim and a white one outside, so that both show on anything."""
    x1, y1, x2, y2 = mask_to_box_xyxy(mask) or (0, 0, 0, 0)
    pad = line + 2
    top, left = max(0, y1 - pad), max(0, x1 - pad)
    bottom, right = min(mask.shape[0], y2 + pad), min(mask.shape[1], x2 + pad)
    inside = mask[top:bottom, left:right]
    rim = inside & ~binary_erosion(inside, iterations=line, border_value=1)
    halo = binary_dilation(inside, iterations=max(1, line // 2)) & ~inside
    scene = np.array(picture)
    scene[top:bottom, left:right][halo] = RIM
    scene[top:bottom, left:right][rim] = MARK
    return Image.fromarray(scene)


def _rectangle(
    canvas: ImageDraw.ImageDraw, box: tuple[float, ...], line: int, size_wh: tuple[int, int]
) -> None:
    x1, y1 = max(0, round(box[0]) - 1), max(0, round(box[1]) - 1)
    x2, y2 = min(size_wh[0] - 1, round(box[2])), min(size_wh[1] - 1, round(box[3]))
    canvas.rectangle((x1, y1, max(x1, x2), max(y1, y2)), outline=RIM, width=line + 1)
    canvas.rectangle((x1, y1, max(x1, x2), max(y1, y2)), outline=MARK, width=max(1, line // 2 + 1))


def _tag(
    canvas: ImageDraw.ImageDraw,
    tag: str,
    around: tuple[float, ...],
    region: tuple[np.ndarray | None, tuple[float, ...] | None],
    size_wh: tuple[int, int],
) -> None:
    """Black on white with a bright rim, at the box `around` where it hides least of the region."""
    size = max(MIN_FONT_PX, round(max(size_wh) / 28))
    font = font_for(tag, size)
    width, height = round(canvas.textlength(tag, font=font)) + size // 2, round(size * 1.25)
    places = _places(around, width, height, size_wh)
    x, y = min(places, key=lambda place: _hidden(place, width, height, *region))  # first best
    canvas.rectangle((x, y, x + width, y + height), fill="white", outline=MARK, width=2)
    canvas.text((x + width / 2, y + height / 2), tag, font=font, fill="black", anchor="mm")


def _places(
    box: tuple[float, ...], width: int, height: int, size_wh: tuple[int, int]
) -> list[tuple[int, int]]:
    """Above, below, beside and at last inside the corners of the box; all within the picture."""
    x1, y1, x2, y2 = (round(v) for v in box)
    wanted = [
        (x1, y1 - height - 2), (x2 - width, y1 - height - 2), (x1, y2 + 2), (x2 - width, y2 + 2),
        (x1 - width - 2, y1), (x2 + 2, y1), (x1, y1), (x2 - width, y1), (x1, y2 - height),
        (x2 - width, y2 - height),
    ]  # fmt: skip
    last_x, last_y = max(0, size_wh[0] - width - 1), max(0, size_wh[1] - height - 1)
    return [(min(max(0, x), last_x), min(max(0, y), last_y)) for x, y in wanted]


def _hidden(
    place: tuple[int, int],
    width: int,
    height: int,
    mask: np.ndarray | None,
    box: tuple[float, ...] | None,
) -> int:
    """Pixels of the region (of its box where the mask is unknown) under the tag."""
    x, y = place
    if mask is not None:
        return int(mask[y : y + height, x : x + width].sum())
    if box is None:
        return 0
    wide = min(x + width, box[2]) - max(x, box[0])
    high = min(y + height, box[3]) - max(y, box[1])
    return round(max(0, wide) * max(0, high))
