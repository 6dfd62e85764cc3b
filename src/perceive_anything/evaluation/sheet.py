"""A contact sheet of answers: each picture with its region, what was said and what was wanted.

Knows samples and answers as they were saved. A picture that is not there any more is left out.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont, ImageOps
from PIL.Image import Resampling

from perceive_anything.draw import find_font
from perceive_anything.errors import PerceiveError
from perceive_anything.evaluation.marks import marked
from perceive_anything.evaluation.samples import Answered, Rle
from perceive_anything.evaluation.tracking import boundary
from perceive_anything.masks import decode_rle
from perceive_anything.media import Pixels
from perceive_anything.types import Box
from perceive_anything.video import open_video

__all__ = ["said_and_wanted", "write_sheet"]

TILE_WH, TEXT_PX, FONT_PX, LINES, COLUMNS = (340, 250), 92, 13, 5, 4
LINE_CHARS = 52
SAID, WANTED = (150, 70, 255), (60, 255, 60)  # a tint, an outline


def write_sheet(cases: Sequence[tuple[Answered, str]], path: Path) -> bool:
    """Write a PNG with a tile for each case.

    Args:
        cases: Answers, each with a title such as its score.
        path: The file.

    Returns:
        Whether there was anything to show.
    """
    tiles = [tile for line, title in cases if (tile := _tile(line, title)) is not None]
    if not tiles:
        return False
    width, height = TILE_WH[0], TILE_WH[1] + TEXT_PX
    rows = -(-len(tiles) // COLUMNS)
    sheet = Image.new("RGB", (width * min(COLUMNS, len(tiles)), height * rows), "white")
    for number, tile in enumerate(tiles):
        sheet.paste(tile, (width * (number % COLUMNS), height * (number // COLUMNS)))
    sheet.save(path)
    return True


def said_and_wanted(line: Answered) -> tuple[str, str]:
    """What was answered and what was right, as text."""
    truth, answer = line.sample.truth, line.answer
    if truth.spans:
        return " / ".join(answer.texts), " / ".join(truth.texts)
    if answer.masks or answer.rles:
        return "a mask", truth.label or line.sample.group
    return answer.text, " / ".join(truth.texts) or truth.label


def _tile(line: Answered, title: str) -> Image.Image | None:
    try:
        picture = _picture(line)
    except (PerceiveError, OSError, IndexError, ValueError):
        return None
    tile = Image.new("RGB", (TILE_WH[0], TILE_WH[1] + TEXT_PX), "white")
    tile.paste(picture, ((TILE_WH[0] - picture.width) // 2, 4))
    said, wanted = said_and_wanted(line)
    rows = [title, *_rows(f"said: {said}", 2), *_rows(f"wanted: {wanted}", 2)][:LINES]
    font = _font("".join(rows))
    canvas = ImageDraw.Draw(tile)
    for number, row in enumerate(rows):
        canvas.text((6, TILE_WH[1] + number * (FONT_PX + 4)), row, font=font, fill="black")
    return tile


def _picture(line: Answered) -> Image.Image:
    """The region and its surroundings, with both masks where there are some, else the prompt."""
    sample, answer = line.sample, line.answer
    if answer.rles:
        frame = (sample.frame + len(answer.rles)) // 2
        truth = sample.truth.rles[frame]
        return _both(sample.media.load(frame), answer.rles[frame], truth, line)
    if answer.masks:
        return _both(sample.media.load(), answer.masks.get("box"), sample.truth.rle, line)
    if sample.media.video:
        image = open_video(sample.media.video).frame(sample.frame).image
    else:
        image = sample.media.load(sample.frame)
    return _fitted(marked(image, sample.prompt), line)


def _both(image: Pixels, said: Rle | None, wanted: Rle | None, line: Answered) -> Image.Image:
    """The answer's mask as a tint, the outline of the true one."""
    picture = np.array(_fitted(image, line))
    for rle, of_mask in ((said, np.array), (wanted, boundary)):
        if rle is not None:
            whole = Image.fromarray(decode_rle(rle))
            inside = of_mask(np.array(_fitted(np.array(whole), line, Resampling.NEAREST)))
            color, share = (SAID, 0.5) if rle is said else (WANTED, 1.0)
            picture[inside] = picture[inside] * (1 - share) + np.array(color) * share
    return Image.fromarray(picture)


def _fitted(
    picture: np.ndarray, line: Answered, how: Resampling = Resampling.BICUBIC
) -> Image.Image:
    """The box and as much again on each side, or all of the picture, as large as a tile."""
    prompt = line.sample.prompt
    if isinstance(prompt, Box):
        (x1, y1, x2, y2), (height, width) = prompt.xyxy, picture.shape[:2]
        margin_x, margin_y = max(x2 - x1, width / 16), max(y2 - y1, height / 16)
        rows = slice(max(0, int(y1 - margin_y)), int(y2 + margin_y) + 1)
        picture = picture[rows, max(0, int(x1 - margin_x)) : int(x2 + margin_x) + 1]
    shown = Image.fromarray(np.ascontiguousarray(picture))
    return ImageOps.contain(shown, (TILE_WH[0] - 8, TILE_WH[1] - 8), how)


def _rows(text: str, most: int) -> list[str]:
    return textwrap.wrap(text, LINE_CHARS, max_lines=most, placeholder=" ...") or [text]


def _font(text: str) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    path = None if text.isascii() else find_font(text)
    return ImageFont.truetype(str(path), FONT_PX) if path else ImageFont.load_default(FONT_PX)
