"""What can be seen of a region: colours, place, size, neighbours; the facts behind its texts.

Knows records, pixels and the lexicon. Refuses to know sentences and languages.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

import numpy as np

from perceive_anything.data.colours import colour_shares, name_colours
from perceive_anything.data.grammar import is_person, normalise
from perceive_anything.data.human_captions import told_things
from perceive_anything.data.knowledge import COLOURS, knowledge_set
from perceive_anything.data.lexicon import Entry, Lexicon, source_key
from perceive_anything.data.schema import ImageRecord, RegionRecord

__all__ = ["Neighbour", "RegionContext", "make_context"]

INNER = 0.7
MAX_NEIGHBOURS, MAX_WORN = 2, 3
_NEAR = 0.12
_NOT_COLOURED = frozenset({"face", "skin", "cougar face"})
_SKIN_TONES = frozenset({"brown", "orange", "pink"})

BoxXyxy = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class Neighbour:
    """Another named region of the image.

    Args:
        label: Its English name.
        label_zh: Its Chinese name.
        relation: Where it is, seen from the region: "left", "right", "above", "below", "near"; or
            "on" (the region is on it), "under" (it is on the region), "with", "wearing", "worn_by".
    """

    label: str
    label_zh: str
    relation: str


@dataclass(frozen=True, slots=True)
class RegionContext:
    """The facts of one region.

    Args:
        label: English name.
        label_zh: Chinese name, "" where unknown.
        entry: What the lexicon knows of it.
        box_xyxy: Pixels of the image.
        size_wh: Size of the image in pixels.
        colours: At most two basic colours, or ("colorful",).
        area_share: Share of the image that the region covers, 0..1.
        neighbours: Nearest other regions, the nearest first.
        told: Things that captions by people mention with it, see `told_things`; without region.
    """

    label: str
    label_zh: str
    entry: Entry | None
    box_xyxy: BoxXyxy
    size_wh: tuple[int, int]
    colours: tuple[str, ...]
    area_share: float
    neighbours: tuple[Neighbour, ...] = ()
    told: tuple[Neighbour, ...] = ()

    @property
    def is_main(self) -> bool:
        """Whether the region fills most of the image."""
        return self.area_share >= 0.62

    @property
    def shown_colours(self) -> tuple[str, ...]:
        """The colours to speak of: none where the name has one ("yellow onion", "orange")."""
        words = re.split(r"[ -]", self.label)
        return () if any(word in COLOURS for word in words) else self.colours

    @property
    def position(self) -> str:
        """Where its box's centre lies: "center", "top left", ...; a third each way."""
        x1, y1, x2, y2 = self.box_xyxy
        width, height = self.size_wh
        column = _third((x1 + x2) / 2 / width, ("left", "", "right"))
        row = _third((y1 + y2) / 2 / height, ("top", "", "bottom"))
        return f"{row} {column}".strip() or "center"


def make_context(
    record: ImageRecord, region: RegionRecord, image: np.ndarray, lexicon: Lexicon
) -> RegionContext:
    """Measure one region of an image.

    Args:
        record: The image's record.
        region: One of its regions.
        image: uint8 RGB (H, W, 3), of the record's size or scaled.
        lexicon: Names and knowledge.
    """
    mask = region.mask()
    width, height = record.size_wh
    x1, y1, x2, y2 = region.box_xyxy
    share = (x2 - x1) * (y2 - y1) / (width * height) if mask is None else float(mask.mean())
    entry = lexicon.find(region.label, record.source)
    return RegionContext(
        label=region.label.split(" / ")[0],
        label_zh=lexicon.name_zh(region.label, record.source, region.label_zh),
        entry=entry,
        box_xyxy=region.box_xyxy,
        size_wh=record.size_wh,
        colours=_colours(region, mask, image, record.size_wh, record.source),
        area_share=min(1.0, share),
        neighbours=_neighbours(record, region, lexicon),
        told=_told(record, region, lexicon),
    )


def _third(position: float, names: tuple[str, str, str]) -> str:
    return names[0] if position < 0.36 else names[2] if position > 0.64 else names[1]


def _colours(
    region: RegionRecord,
    mask: np.ndarray | None,
    image: np.ndarray,
    size_wh: tuple[int, int],
    source: str,
) -> tuple[str, ...]:
    dressed = is_person(region.label)
    if region.label in _NOT_COLOURED or (dressed and source_key(source) == "emoji"):
        return ()
    if mask is not None:
        shares = colour_shares(_masked_pixels(mask, image))
        if dressed:
            shares = _without_skin(shares)
        return name_colours(shares)
    x1, y1, x2, y2 = _to_image(region.box_xyxy, size_wh, image)
    margin_x, margin_y = (x2 - x1) * (1 - INNER) / 2, (y2 - y1) * (1 - INNER) / 2
    inner = _crop(image, (x1 + margin_x, y1 + margin_y, x2 - margin_x, y2 - margin_y))
    around = colour_shares(_border(image))
    shares = colour_shares(inner)
    if dressed:
        shares = _without_skin(shares)
    return name_colours(shares, around)


def _masked_pixels(mask: np.ndarray, image: np.ndarray) -> np.ndarray:
    if mask.shape == image.shape[:2]:
        return image[mask]
    rows, columns = np.nonzero(mask)
    rows = rows * image.shape[0] // mask.shape[0]
    columns = columns * image.shape[1] // mask.shape[1]
    return image[rows, columns]


def _without_skin(shares: np.ndarray) -> np.ndarray:
    """A person's colours are those of the clothes; tones of skin and hair do not count."""
    return shares * np.array([name not in _SKIN_TONES for name in COLOURS])


def _to_image(box_xyxy: BoxXyxy, size_wh: tuple[int, int], image: np.ndarray) -> BoxXyxy:
    scale_x, scale_y = image.shape[1] / size_wh[0], image.shape[0] / size_wh[1]
    x1, y1, x2, y2 = box_xyxy
    return x1 * scale_x, y1 * scale_y, x2 * scale_x, y2 * scale_y


def _crop(image: np.ndarray, box_xyxy: BoxXyxy) -> np.ndarray:
    x1, y1, x2, y2 = (max(0, int(v)) for v in box_xyxy)
    return image[y1 : max(y2, y1 + 1), x1 : max(x2, x1 + 1)].reshape(-1, 3)


def _border(image: np.ndarray) -> np.ndarray:
    """The pixels of a frame of 8 % around the image."""
    rim = max(1, round(0.08 * min(image.shape[:2])))
    sides = (image[:rim], image[-rim:], image[rim:-rim, :rim], image[rim:-rim, -rim:])
    return np.concatenate([side.reshape(-1, 3) for side in sides])


def _neighbours(
    record: ImageRecord, region: RegionRecord, lexicon: Lexicon
) -> tuple[Neighbour, ...]:
    found: list[tuple[float, RegionRecord, str]] = []
    is_outfit = any(other.kind == "part" for other in record.regions)
    for other in record.regions:
        if (
            other is region
            or other.kind == "whole-image"
            or (other.kind == "stuff" and not is_outfit)
        ):
            continue
        relation, distance = (
            _outfit_relation(region, other)
            if is_outfit
            else _relation(region, other, record.size_wh)
        )
        if relation:
            found.append((distance, other, relation))
    found.sort(key=lambda item: item[0])
    limit = MAX_WORN if is_outfit and region.label == "person" else MAX_NEIGHBOURS
    chosen: dict[str, Neighbour] = {}
    for _, other, relation in found:
        if len(chosen) < limit and normalise(other.label) not in chosen:
            name_zh = lexicon.name_zh(other.label, record.source, other.label_zh)
            chosen[normalise(other.label)] = Neighbour(other.label, name_zh, relation)
    return tuple(chosen.values())


def _told(record: ImageRecord, region: RegionRecord, lexicon: Lexicon) -> tuple[Neighbour, ...]:
    """What people told of and nobody drew around."""
    drawn = {other.label for other in record.regions}
    names = (n for n in told_things(record, region, lexicon) or () if n not in drawn)
    return tuple(
        Neighbour(name, lexicon.name_zh(name, record.source), _told_relation(name, region.label))
        for name in names
    )


def _told_relation(name: str, label: str) -> str:
    """How a thing that captions mention usually is to the region: on, near or with it."""
    if _is_support(name, label):
        return "on"
    return "near" if name in knowledge_set("beside") else "with"


def _outfit_relation(region: RegionRecord, other: RegionRecord) -> tuple[str, float]:
    """Relation and rank within a photo of one dressed person; larger pieces come first."""
    rank = -_area(other.box_xyxy)
    if region.label == "person":
        if other.label in knowledge_set("never_worn"):
            return "", 0.0
        return ("with" if _is_carried(other.label) else "wearing"), rank
    if other.label == "person":
        return ("near" if _is_carried(region.label) else "worn_by"), -math.inf
    return "", 0.0


def _is_carried(label: str) -> bool:
    return label in knowledge_set("carried") and label not in knowledge_set("worn_on_head_or_hand")


def _relation(
    region: RegionRecord, other: RegionRecord, size_wh: tuple[int, int]
) -> tuple[str, float]:
    """Relation and distance (in image diagonals) of another region; "" where it is far."""
    a, b = region.box_xyxy, other.box_xyxy
    gap_x, gap_y = max(a[0], b[0]) - min(a[2], b[2]), max(a[1], b[1]) - min(a[3], b[3])
    diagonal = math.hypot(*size_wh)
    gap = math.hypot(max(gap_x, 0.0), max(gap_y, 0.0)) / diagonal
    if gap > _NEAR or _area(b) < 0.002 * size_wh[0] * size_wh[1]:
        return "", 0.0
    centre_x = ((b[0] + b[2]) - (a[0] + a[2])) / 2
    centre_y = ((b[1] + b[3]) - (a[1] + a[3])) / 2
    distance = gap + 0.2 * math.hypot(centre_x, centre_y) / diagonal
    carried = knowledge_set("carried")
    if region.label == "person" and other.label in carried and gap == 0 and _area(b) < _area(a):
        return "with", distance - 0.1
    if _is_support(other.label, region.label) and _stands_on(a, b):
        return "on", distance - 0.1
    if _is_support(region.label, other.label) and _stands_on(b, a):
        return "under", distance - 0.05
    if gap_x > 0 and gap_x >= gap_y:
        return ("right" if centre_x > 0 else "left"), distance
    if gap_y > 0:
        return ("below" if centre_y > 0 else "above"), distance
    return "near", distance


def _is_support(support: str, thing: str) -> bool:
    """Whether a thing may stand on a support; people sit and ride, they do not stand on tables."""
    supports = knowledge_set("supports")
    if thing == "person" and support in knowledge_set("tables"):
        return False
    return support in supports and thing not in supports


def _stands_on(a: BoxXyxy, b: BoxXyxy) -> bool:
    """Whether box a stands on the support b: its foot lies within b, its centre above b's."""
    foot_x, foot_y = (a[0] + a[2]) / 2, a[3]
    inside = b[0] <= foot_x <= b[2] and b[1] <= foot_y <= b[3] + 0.1 * (b[3] - b[1])
    narrow = a[2] - a[0] <= 1.2 * (b[2] - b[0])
    return inside and narrow and (a[1] + a[3]) < (b[1] + b[3])


def _area(box_xyxy: BoxXyxy) -> float:
    x1, y1, x2, y2 = box_xyxy
    return (x2 - x1) * (y2 - y1)
