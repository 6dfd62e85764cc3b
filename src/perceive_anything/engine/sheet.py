"""Records to look at: marked pictures with their texts, as cards and as one contact sheet.

Knows records and pictures. Refuses to know how the texts came about.
"""

from __future__ import annotations

import random
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate

from PIL import Image, ImageDraw

from perceive_anything.data.schema import ImageRecord, RegionRecord, TrackRecord
from perceive_anything.draw import font_for, wrap_text
from perceive_anything.engine.jobs import Record, pixels_of
from perceive_anything.engine.marks import Target, marked_pair
from perceive_anything.engine.storyboard import key_frames, storyboard

CARD_PX, PICTURE_PX, FONT_PX, PAD_PX = 720, 250, 17, 12
COLUMNS, MAX_ROWS = 2, 3
PANEL_PX, FPS = 320, 10.0  # frames a second of clips that do not say it
SHOWN = ("caption", "explanation", "description")


@dataclass(frozen=True, slots=True)
class Card:
    """One region to look at.

    Attributes:
        title: Record, region and label.
        picture: The marked picture, or the storyboard.
        texts: Names and texts.
    """

    title: str
    picture: Image.Image
    texts: tuple[tuple[str, str], ...]


def cards_of(records: Sequence[Record], count: int, seed: int) -> list[Card]:
    """Cards of some regions, chosen evenly from all; in the order of the records.

    Args:
        records: Where to choose from; those that are not chosen are not kept.
        count: How many, at most.
        seed: Seed of chance.
    """
    ends = list(accumulate(len(record.regions) for record in records))
    total = ends[-1] if ends else 0
    chosen = sorted(random.Random(seed).sample(range(total), min(count, total)))
    cards = []
    for place in chosen:
        number = bisect_right(ends, place)
        record = records[number]
        cards.append(_card(record, place - ends[number] + len(record.regions)))
    return cards


def contact_sheet(cards: Sequence[Card]) -> Image.Image:
    """All cards on one picture, two beside each other."""
    drawn = [_drawn(card) for card in cards]
    rows = [drawn[start : start + COLUMNS] for start in range(0, len(drawn), COLUMNS)]
    heights = [max(card.height for card in row) for row in rows]
    width = CARD_PX * min(COLUMNS, len(drawn))
    sheet = Image.new("RGB", (width, sum(heights)), "white")
    y = 0
    for row, height in zip(rows, heights, strict=True):
        for column, card in enumerate(row):
            sheet.paste(card, (column * CARD_PX, y))
        y += height
    return sheet


def _card(record: Record, index: int) -> Card:
    region = record.regions[index]
    if isinstance(record, ImageRecord):
        assert isinstance(region, RegionRecord)
        target = Target(region.box_xyxy, region.mask())
        picture = marked_pair(pixels_of(record.handle), target, 560)
    else:
        assert isinstance(region, TrackRecord)
        frames = key_frames(record, region) or [len(record.frames) // 2]  # away: nothing is marked
        fps, start_s = region.extra.get("fps", FPS), region.extra.get("start_s", 0.0)
        picture = storyboard(record, region, frames, fps, PANEL_PX, start_s)
    return Card(f"{record.id} / {region.id}: {_named(region)}", picture, tuple(_texts(region)))


def _named(region: RegionRecord | TrackRecord) -> str:
    return " ".join(filter(None, (region.label, region.label_zh))) or region_kind(region)


def region_kind(region: RegionRecord | TrackRecord) -> str:
    """What a region without a name is called."""
    return "region" if isinstance(region, RegionRecord) else "object"


def _texts(region: RegionRecord | TrackRecord) -> Iterable[tuple[str, str]]:
    for name in SHOWN:
        for key in (name, f"{name}_zh"):
            if text := region.extra.get(key):
                yield key, str(text)
    if "caption" not in region.extra:
        for asked, answer in list(region.extra.get("turns", ()))[:4]:
            yield str(asked).partition("\n")[0], str(answer)


def _drawn(card: Card) -> Image.Image:
    inner = CARD_PX - 2 * PAD_PX
    scale = min(inner / card.picture.width, PICTURE_PX / card.picture.height)
    if card.picture.height > card.picture.width * 0.45:
        scale = min(inner / card.picture.width, 1.4 * PICTURE_PX / card.picture.height)
    size = (round(card.picture.width * scale), round(card.picture.height * scale))
    picture = card.picture.resize(size, Image.Resampling.LANCZOS)
    rows = [(card.title, "black")]
    for name, text in card.texts:
        font = font_for(f"{name}: {text}", FONT_PX)
        if font is not None:
            wrapped = wrap_text(f"{name}: {text}", font, inner, MAX_ROWS)
            rows += [(row, "black" if not n else "#333333") for n, row in enumerate(wrapped)]
    step = round(FONT_PX * 1.4)
    drawn = Image.new("RGB", (CARD_PX, picture.height + len(rows) * step + 3 * PAD_PX), "white")
    drawn.paste(picture, (PAD_PX, PAD_PX + step))
    canvas = ImageDraw.Draw(drawn)
    places = [PAD_PX // 2, *range(picture.height + 2 * PAD_PX + step, 10**6, step)]
    for (row, color), y in zip(rows, places, strict=False):
        canvas.text((PAD_PX, y), row, font=font_for(row, FONT_PX), fill=color)
    canvas.rectangle((0, 0, CARD_PX - 1, drawn.height - 1), outline="#cccccc")
    return drawn
