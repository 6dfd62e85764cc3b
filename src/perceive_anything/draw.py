"""Regions onto pixels: images through supervision's annotators, video frames with numpy and Pillow.

Takes arrays, boxes, labels and prompts as JSON dicts; knows no Region class, no file and no model.
Colours follow the position of the region; positive points are green, negative ones red.
"""

from __future__ import annotations

import os
import re
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from perceive_anything.masks import decode_rle, mask_to_box_xyxy

if TYPE_CHECKING:
    import numpy.typing as npt
    import supervision
    from PIL import Image, ImageDraw, ImageFont

    Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

FONT_VARIABLE = "PERCEIVE_FONT"
CJK_SAMPLE = "图像中的猫"
FONT_SUFFIXES = (".ttf", ".ttc", ".otf")
# Parts of file names of fonts that hold Chinese, tried before all others.
CJK_FONT_HINTS = ("cjk", "sourcehan", "wqy", "pingfang", "msyh", "simhei", "droidsansfall")
MASK_OPACITY = 0.4
POSITIVE, NEGATIVE, PROMPT_COLOR = "#12B76A", "#F04438", "#FFFFFF"
STRIP_OPACITY, STRIP_SHARE = 0.65, 1 / 3  # of the caption strip; its greatest part of the height
# What may end a row: a Chinese character with the signs that close it, or a word with its space.
BREAKABLE = re.compile(
    r"[\u2e80-\u9fff\uf900-\ufaff\uff00-\uffef][、。〉》」』】〕！），．：；？］｝”’]*\s*"
    r"|[^\s\u2e80-\u9fff\uf900-\ufaff\uff00-\uffef]+\s*"
)
Rgb = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class _Sizes:
    """Pixel sizes of what is drawn, in proportion to the image."""

    line_px: int
    point_px: int
    font_px: int

    @classmethod
    def of(cls, image: npt.NDArray[np.uint8]) -> _Sizes:
        short, long = sorted(image.shape[:2])
        side = min(long, 4 * short)  # a panorama is read at its height
        return cls(
            line_px=max(1, round(side / 300)),
            point_px=max(2, round(side / 110)),
            font_px=max(10, round(side / 40)),
        )

    @property
    def video_font_px(self) -> int:
        """Smaller than on images: captions need the room."""
        return max(12, round(0.8 * self.font_px))  # words run together below 12

    @property
    def row_px(self) -> int:
        return round(1.35 * self.video_font_px)

    @property
    def padding_px(self) -> int:
        return max(2, self.video_font_px // 3)


def draw_regions(
    image: npt.NDArray[np.uint8],
    masks: Sequence[npt.NDArray[np.bool_]],
    boxes_xyxy: Sequence[tuple[float, float, float, float]],
    labels: Sequence[str],
    prompts: Sequence[Mapping[str, Any]],
) -> npt.NDArray[np.uint8]:
    """Draw each region's mask, outline, box, label and prompt on a copy of the image.

    Args:
        image: uint8 RGB (H, W, 3).
        masks: Boolean (H, W), one a region; an empty one leaves only its prompt.
        boxes_xyxy: Pixel boxes, one a region.
        labels: Text beside each box.
        prompts: The prompts in the JSON form of a result.

    Returns:
        uint8 RGB (H, W, 3).

    Example:
        >>> blank = np.zeros((40, 60, 3), np.uint8)
        >>> mask = np.zeros((40, 60), bool)
        >>> mask[10:20, 10:30] = True
        >>> prompt = {"type": "box", "box": [10, 10, 30, 20]}
        >>> draw_regions(blank, [mask], [(10, 10, 30, 20)], ["cat"], [prompt]).shape
        (40, 60, 3)
    """
    counts = {len(masks), len(boxes_xyxy), len(labels), len(prompts)}
    if counts != {len(masks)}:
        raise ValueError(f"masks, boxes, labels and prompts differ in number: {sorted(counts)}")
    sv = load_supervision()
    sizes = _Sizes.of(image)
    scene = np.ascontiguousarray(image[..., ::-1])  # supervision paints arrays as BGR
    drawn = [index for index, mask in enumerate(masks) if mask.any()]
    if drawn:
        scene = _draw_found(
            sv,
            scene,
            sizes,
            masks=np.stack([masks[index] for index in drawn]),
            boxes_xyxy=np.array([boxes_xyxy[index] for index in drawn], dtype=np.float32),
            color_ids=np.array(drawn),
            labels=_drawable([labels[index] for index in drawn], drawn),
        )
    for mask, prompt in zip(masks, prompts, strict=True):
        if not _is_its_own_answer(prompt, mask):
            scene = _draw_prompt(sv, scene, sizes, prompt)
    return np.ascontiguousarray(scene[..., ::-1])


def draw_video_frame(
    image: npt.NDArray[np.uint8],
    *,
    masks: Sequence[npt.NDArray[np.bool_]],
    labels: Sequence[str],
    captions: Sequence[str],
    color_ids: Sequence[int],
) -> npt.NDArray[np.uint8]:
    """Draw masks, outlines and labels, and a strip of captions, on a copy of a video frame.

    A label keeps its corner of the region from frame to frame.

    Args:
        image: uint8 RGB (H, W, 3).
        masks: Boolean (H, W), one a region; an empty one leaves only its caption.
        labels: Text above each region; "" for none.
        captions: Text at the bottom for each region, wrapped and cut to a third of the height; ""
            for none.
        color_ids: Which colour each region has, from 0; the same as in `draw_regions`.

    Returns:
        uint8 RGB (H, W, 3).

    Example:
        >>> blank = np.zeros((90, 160, 3), np.uint8)
        >>> mask = np.zeros((90, 160), bool)
        >>> mask[20:40, 20:60] = True
        >>> draw_video_frame(
        ...     blank, masks=[mask], labels=["cat"], captions=["A cat."], color_ids=[0]
        ... ).shape
        (90, 160, 3)
    """
    counts = {len(masks), len(labels), len(captions), len(color_ids)}
    if counts != {len(masks)}:
        raise ValueError(f"masks, labels, captions, colours differ in number: {sorted(counts)}")
    from PIL import Image, ImageDraw

    sizes = _Sizes.of(image)
    scene = np.array(image, order="C")
    colors = [region_rgb(color_id) for color_id in color_ids]
    boxes = [mask_to_box_xyxy(mask) for mask in masks]
    for mask, box_xyxy, color in zip(masks, boxes, colors, strict=True):
        if box_xyxy is not None:
            _tint(scene, mask, box_xyxy, color, sizes.line_px)
    picture = Image.fromarray(scene)
    canvas = ImageDraw.Draw(picture)
    drawable = _drawable(list(labels), list(color_ids))
    for label, box_xyxy, color in zip(drawable, boxes, colors, strict=True):
        if label and box_xyxy is not None:
            _draw_tag(canvas, picture.size, label, box_xyxy[:2], color, sizes)
    _draw_captions(picture, captions, colors, sizes)
    return np.array(picture)


def find_font(text: str) -> Path | None:
    """A font file of this machine that has every character of a text.

    The environment variable PERCEIVE_FONT, when set, is tried first.

    Args:
        text: What has to be drawn.

    Returns:
        Path of the font, or None when no font has all the characters.
    """
    characters = "".join(sorted({char for char in text if not char.isspace()}))
    return _find_font(characters, os.environ.get(FONT_VARIABLE))


def load_supervision() -> ModuleType:
    """supervision, imported on first use and without its notice about OpenCV."""
    with warnings.catch_warnings():  # `perceive doctor` is where OpenCV is spoken of
        warnings.simplefilter("ignore", UserWarning)
        import supervision

        return supervision


def _draw_found(
    sv: ModuleType,
    scene: npt.NDArray[np.uint8],
    sizes: _Sizes,
    *,
    masks: npt.NDArray[np.bool_],
    boxes_xyxy: npt.NDArray[np.float32],
    color_ids: npt.NDArray[np.int_],
    labels: list[str],
) -> npt.NDArray[np.uint8]:
    found: supervision.Detections = sv.Detections(
        xyxy=boxes_xyxy, mask=masks, class_id=color_ids.astype(int)
    )
    scene = sv.MaskAnnotator(opacity=MASK_OPACITY).annotate(scene, found)
    scene = sv.PolygonAnnotator(thickness=sizes.line_px).annotate(scene, found)
    scene = sv.BoxAnnotator(thickness=sizes.line_px).annotate(scene, found)
    font = None if _default_font_has("".join(labels)) else find_font("".join(labels))
    annotator = sv.RichLabelAnnotator(
        font_path=str(font) if font else None,
        font_size=sizes.font_px,
        text_padding=max(2, sizes.font_px // 3),
        smart_position=True,
    )
    labelled: npt.NDArray[np.uint8] = annotator.annotate(scene, found, labels=labels)
    return labelled


def _is_its_own_answer(prompt: Mapping[str, Any], mask: npt.NDArray[np.bool_]) -> bool:
    """Whether a mask prompt is the region itself, whose outline is there already."""
    return "mask" in prompt and np.array_equal(decode_rle(prompt["mask"]), mask)


def _draw_prompt(
    sv: ModuleType, scene: npt.NDArray[np.uint8], sizes: _Sizes, prompt: Mapping[str, Any]
) -> npt.NDArray[np.uint8]:
    """Box and mask prompts as thin white outlines, points as ringed dots."""
    thin_px = max(1, sizes.line_px // 2)
    color = sv.Color.from_hex(PROMPT_COLOR)
    if "box" in prompt:
        scene = sv.BoxAnnotator(color=color, thickness=thin_px).annotate(
            scene, _detections(sv, [prompt["box"]])
        )
    if "mask" in prompt:
        mask = decode_rle(prompt["mask"])
        rows, columns = np.any(mask, axis=1).nonzero()[0], np.any(mask, axis=0).nonzero()[0]
        box_xyxy = [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]
        scene = sv.PolygonAnnotator(color=color, thickness=thin_px).annotate(
            scene, _detections(sv, [box_xyxy], mask[None])
        )
    labels = prompt.get("labels", [])
    for wanted, hex_color in ((1, POSITIVE), (0, NEGATIVE)):
        chosen = [
            [x, y, x, y]
            for (x, y), label in zip(prompt.get("points", []), labels, strict=True)
            if label == wanted
        ]
        if chosen:
            scene = sv.DotAnnotator(
                color=sv.Color.from_hex(hex_color),
                radius=sizes.point_px,
                outline_thickness=max(1, sizes.point_px // 3),
                outline_color=color,
            ).annotate(scene, _detections(sv, chosen))
    return scene


def _detections(
    sv: ModuleType, boxes_xyxy: list[list[float]], masks: npt.NDArray[np.bool_] | None = None
) -> supervision.Detections:
    found: supervision.Detections = sv.Detections(
        xyxy=np.array(boxes_xyxy, dtype=np.float32),
        mask=masks,
        class_id=np.zeros(len(boxes_xyxy), dtype=int),
    )
    return found


@lru_cache(maxsize=256)
def region_rgb(color_id: int) -> Rgb:
    """The colour of a region by its position, or by its number in a video."""
    color = load_supervision().ColorPalette.DEFAULT.by_idx(color_id)
    return color.r, color.g, color.b


def _tint(
    scene: npt.NDArray[np.uint8],
    mask: npt.NDArray[np.bool_],
    box_xyxy: tuple[int, int, int, int],
    color: Rgb,
    line_px: int,
) -> None:
    """Blend a mask into the scene and draw its rim.

    Three masks on 1280x720 take 8 ms here; supervision's polygons take 350 ms without OpenCV, its
    fill 35 ms.
    """
    x1, y1, x2, y2 = box_xyxy
    inside, crop = mask[y1:y2, x1:x2], scene[y1:y2, x1:x2]
    levels = np.arange(256) * (1 - MASK_OPACITY)
    for channel, value in enumerate(color):
        blended = (levels + value * MASK_OPACITY).astype(np.uint8)
        plane = crop[..., channel]
        np.copyto(plane, blended[plane], where=inside)
    crop[inside & ~_eroded(inside, line_px)] = color


def _eroded(mask: npt.NDArray[np.bool_], steps: int) -> npt.NDArray[np.bool_]:
    """The mask without its rim; outside the array is outside the mask."""
    inside = np.pad(mask, 1)
    for _ in range(steps):
        smaller = inside.copy()
        smaller[1:] &= inside[:-1]
        smaller[:-1] &= inside[1:]
        smaller[:, 1:] &= inside[:, :-1]
        smaller[:, :-1] &= inside[:, 1:]
        inside = smaller
    return inside[1:-1, 1:-1]


def _draw_tag(
    canvas: ImageDraw.ImageDraw,
    size_wh: tuple[int, int],
    label: str,
    corner_xy: tuple[int, int],
    color: Rgb,
    sizes: _Sizes,
) -> None:
    """A label on its colour: above the corner, or under it at the top of the frame."""
    font = font_for(label, sizes.video_font_px)
    if font is None:  # a number took the place of such a label before
        return
    padding = sizes.padding_px
    (row,) = wrap_text(label, font, size_wh[0] - 2 * padding, 1)
    width, height = round(font.getlength(row)) + 2 * padding, sizes.row_px + padding
    x = max(0, min(corner_xy[0], size_wh[0] - width))
    y = corner_xy[1] - height if corner_xy[1] >= height else corner_xy[1]
    canvas.rectangle((x, y, x + width - 1, y + height - 1), fill=color)
    dark = color[0] * 0.299 + color[1] * 0.587 + color[2] * 0.114 < 150
    canvas.text((x + padding, y + padding // 2), row, font=font, fill="white" if dark else "black")


def _draw_captions(
    picture: Image.Image, captions: Sequence[str], colors: Sequence[Rgb], sizes: _Sizes
) -> None:
    """A dark strip at the bottom: each caption behind a square in the colour of its region."""
    from PIL import ImageDraw

    (width, height), row_px, padding = picture.size, sizes.row_px, sizes.padding_px
    indent = row_px + padding
    max_rows = max(1, int(height * STRIP_SHARE - padding) // row_px)
    rows = _caption_rows(captions, colors, sizes.video_font_px, width - indent - padding, max_rows)
    if not rows:
        return
    top = max(0, height - len(rows) * row_px - padding)
    strip = picture.crop((0, top, width, height))
    picture.paste(strip.point([round(v * (1 - STRIP_OPACITY)) for v in range(256)] * 3), (0, top))
    canvas, square = ImageDraw.Draw(picture), row_px // 2
    for number, (text, font, color) in enumerate(rows):
        y = top + padding // 2 + number * row_px
        if color is not None:
            left, upper = padding + square // 4, y + (row_px - square) // 2
            canvas.rectangle((left, upper, left + square - 1, upper + square - 1), fill=color)
        canvas.text((indent, y), text, font=font, fill="white")


def _caption_rows(
    captions: Sequence[str], colors: Sequence[Rgb], font_px: int, width_px: int, max_rows: int
) -> list[tuple[str, Font, Rgb | None]]:
    """Text, font and, at the first row of a caption, its colour."""
    fonts = [font_for(caption, font_px) for caption in captions]
    if None in fonts:
        _warn_no_font("captions; they are left out.")
    shown = [
        (caption, font, color)
        for caption, font, color in zip(captions, fonts, colors, strict=True)
        if caption.strip() and font is not None
    ]
    needed = [len(wrap_text(caption, font, width_px, max_rows)) for caption, font, _ in shown]
    rows: list[tuple[str, Font, Rgb | None]] = []
    for (caption, font, color), room in zip(shown, _share(needed, max_rows), strict=True):
        wrapped = wrap_text(caption, font, width_px, room) if room else ()
        rows += [(row, font, None if index else color) for index, row in enumerate(wrapped)]
    return rows


def _share(needed: Sequence[int], max_rows: int) -> list[int]:
    """Rows for each caption: one to each in turn, until all have enough or none is left."""
    given = [0] * len(needed)
    for _ in range(max_rows):
        for index, number in enumerate(needed):
            given[index] += given[index] < number and sum(given) < max_rows
    return given


@lru_cache(maxsize=64)  # a caption stays for many frames
def wrap_text(text: str, font: Font, width_px: int, max_rows: int) -> tuple[str, ...]:
    """The text in at most so many rows that fit; "..." ends the last if some is left over."""
    rows = [""]
    for piece in BREAKABLE.findall(" ".join(text.split())):
        fits = font.getlength(piece.rstrip()) <= width_px
        for part in [piece] if fits else piece:
            if rows[-1] and font.getlength((rows[-1] + part).rstrip()) > width_px:
                rows.append("")
            rows[-1] += part
    rows = [row.rstrip() for row in rows]
    if len(rows) > max_rows:
        last = rows[max_rows - 1]
        while last and font.getlength(last + "...") > width_px:
            last = last[:-1]
        rows = [*rows[: max_rows - 1], last.rstrip(" ,.") + "..."]
    return tuple(rows)


def font_for(text: str, font_px: int) -> Font | None:
    """Pillow's own font if it is certain to do, else one of this machine, else None."""
    if _default_font_has(text):
        return _load_font(None, font_px)
    path = find_font(text)
    return _load_font(path, font_px) if path else None


@lru_cache(maxsize=32)
def _load_font(path: Path | None, font_px: int) -> Font:
    from PIL import ImageFont

    return ImageFont.truetype(str(path), font_px) if path else ImageFont.load_default(font_px)


def _drawable(labels: list[str], region_ids: list[int]) -> list[str]:
    """Labels as they are, or region numbers in place of those that no font can draw."""
    text = "".join(labels)
    if _default_font_has(text) or find_font(text) is not None:
        return labels
    _warn_no_font("labels; region numbers are drawn instead.")
    return [
        label if _default_font_has(label) else f"#{region_id}"
        for label, region_id in zip(labels, region_ids, strict=True)
    ]


def _warn_no_font(what: str) -> None:
    warnings.warn(
        f"no font of this machine can draw these {what} "
        "Install one (Debian: apt-get install fonts-noto-cjk) or set "
        f"{FONT_VARIABLE}=/path/to/font.ttf.",
        UserWarning,
        stacklevel=5,
    )


def _default_font_has(text: str) -> bool:
    """Pillow's built-in font is Latin; ASCII is what is certain in every build of it."""
    return text.isascii()


@lru_cache(maxsize=64)
def _find_font(characters: str, preferred: str | None) -> Path | None:
    first = [Path(preferred)] if preferred else []
    for path in chain(first, _system_fonts()):
        if _font_has(path, characters):
            return path
    return None


@lru_cache(maxsize=1)
def _system_fonts() -> tuple[Path, ...]:
    """Font files of the usual folders, those that promise Chinese first, of them the regular."""
    files = sorted(path for folder in _font_folders() for path in _files_under(folder))
    return tuple(
        sorted(files, key=lambda p: (not _promises_cjk(p), "regular" not in p.name.lower()))
    )


def _promises_cjk(path: Path) -> bool:
    name = path.name.lower().replace("-", "").replace("_", "")
    return any(hint in name for hint in CJK_FONT_HINTS)


def _files_under(folder: Path) -> Iterator[Path]:
    if folder.is_dir():
        yield from (path for path in folder.rglob("*") if path.suffix.lower() in FONT_SUFFIXES)


def _font_folders() -> list[Path]:
    home = Path.home()
    if sys.platform == "darwin":
        return [Path("/System/Library/Fonts"), Path("/Library/Fonts"), home / "Library/Fonts"]
    if sys.platform == "win32":
        return [Path(os.environ.get("WINDIR", r"C:\Windows")) / "Fonts"]
    return [Path("/usr/share/fonts"), Path("/usr/local/share/fonts"), home / ".local/share/fonts"]


def _font_has(path: Path, characters: str) -> bool:
    """Whether no character is drawn as the font's "missing" glyph."""
    from PIL import ImageFont

    try:
        font = ImageFont.truetype(str(path), 24)
        missing = bytes(font.getmask("\U0010fffe"))  # a code point that no font may assign
        return all(bytes(font.getmask(char)) != missing for char in characters)
    except OSError:
        return False
