"""More views of annotated photos: crops, flips, colour changes and pasted cut-outs, as a new pack.

Knows records and arrays; nothing of models. A view is a record like any other, so whatever reads
packs reads views.
"""

from __future__ import annotations

import io
import json
import random
import tarfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image, ImageEnhance, ImageFilter

from perceive_anything.data.schema import ImageRecord, RegionRecord
from perceive_anything.masks import closer_window, decode_rle, encode_rle, mask_to_box_xyxy

Window = tuple[float, float, float, float]

MIN_VISIBLE = 0.4
MIN_SHARE = 0.001
MIN_CUTOUT_PX = 2000
ZOOM_CONTEXT = (2.0, 6.0)  # sides of a zoomed view, in longest sides of the region


@dataclass(frozen=True, slots=True)
class View:
    """A picture (S, S, 3) uint8 and its record; boxes and masks are those of the picture."""

    image: np.ndarray
    record: ImageRecord


def crop_view(record: ImageRecord, side: int, rng: random.Random) -> View:
    """A random crop (35-100 % of the area, mild aspect change), flipped or not, recoloured.

    Regions of which less than 40 % stays in the crop are dropped.
    """
    return _view_of(record, _random_window(record.size_wh, rng), side, rng)


def zoom_view(record: ImageRecord, side: int, rng: random.Random) -> View:
    """A square around one of the regions, as a second look at it sees it (`closer_window`).

    Args:
        record: Has a region with mask.
        side: Side of the view in pixels.
        rng: Source of chance.
    """
    region = rng.choice([region for region in record.regions if region.rle is not None])
    x1, y1, x2, y2 = region.box_xyxy
    jitter = (max(x2 - x1, y2 - y1)) * rng.uniform(-0.5, 0.5)
    moved = (x1 + jitter, y1 - jitter, x2 + jitter, y2 - jitter)
    window = closer_window(moved, record.size_wh, rng.uniform(*ZOOM_CONTEXT))
    return _view_of(record, window, side, rng)


def _view_of(record: ImageRecord, window: Window, side: int, rng: random.Random) -> View:
    image = Image.fromarray(record.load())
    flip = rng.random() < 0.5
    picture = _cut(image, window, side, flip, Image.Resampling.BICUBIC)
    regions = [_cut_region(region, image.size, window, side, flip) for region in record.regions]
    return View(
        np.asarray(_recolour(picture, rng)),
        replace(record, size_wh=(side, side), regions=tuple(r for r in regions if r is not None)),
    )


def paste_view(
    background: View, sources: Sequence[tuple[ImageRecord, RegionRecord]], rng: random.Random
) -> View:
    """Cut-outs pasted over a view: exact masks for nothing.

    Args:
        background: Its whole-image regions are dropped, its others lose what is covered.
        sources: Records and their regions (with mask) to cut out.
        rng: Source of chance.
    """
    canvas = Image.fromarray(background.image)
    side = canvas.width
    kept, masks = [], []
    for region in background.record.regions:
        if region.kind != "whole-image" and region.rle is not None:
            kept.append(region)
            masks.append(decode_rle(region.rle))
    for record, region in sources:
        cutout, alpha = _cutout(record, region, side, rng)
        left, top = (rng.randint(-n // 6, side - n + n // 6) for n in cutout.size)
        canvas.paste(cutout, (left, top), alpha.filter(ImageFilter.GaussianBlur(0.7)))
        sheet = Image.new("L", (side, side))
        sheet.paste(alpha, (left, top))
        covered = np.asarray(sheet) > 127
        masks = [*(mask & ~covered for mask in masks), covered]
        kept.append(region)
    regions = [_with_mask(region, mask) for region, mask in zip(kept, masks, strict=True)]
    record = replace(background.record, regions=tuple(r for r in regions if r), captions=())
    return View(np.asarray(_recolour(canvas, rng)), record)


def iter_views(
    records: Iterable[ImageRecord],
    side: int,
    num_crops: int,
    num_pastes: int,
    seed: int,
    num_maskless: int = 0,
    num_zooms: int = 0,
) -> Iterator[View]:
    """Views of training records, in random order.

    Args:
        records: Training records; those of the val split must not be among them.
        side: Side of the views in pixels.
        num_crops: Crops of each photo that has an object mask.
        num_pastes: Pasted views in all.
        seed: Seed of all chance.
        num_maskless: Crops of each photo whose regions have no masks (one object a photo).
        num_zooms: Close views of each photo that has an object mask, each around one region.
    """
    rng = random.Random(seed)
    records = list(records)
    photos = [record for record in records if any(_is_cutout(r) for r in record.regions)]
    photos = [record for record in photos if record.regions[0].kind != "whole-image"]
    sources = [(record, r) for record in records for r in record.regions if _is_cutout(r)]
    backgrounds = [record for record in records if 2 * min(record.size_wh) >= side]
    maskless = [r for r in records if r.regions and all(g.rle is None for g in r.regions)]
    jobs = [("crop", record) for record in photos for _ in range(num_crops)]
    jobs += [("crop", record) for record in maskless for _ in range(num_maskless)]
    jobs += [("zoom", record) for record in photos for _ in range(num_zooms)]
    if sources and backgrounds:
        jobs += [("paste", rng.choice(backgrounds)) for _ in range(num_pastes)]
    rng.shuffle(jobs)
    for index, (kind, record) in enumerate(jobs):
        view = (zoom_view if kind == "zoom" else crop_view)(record, side, rng)
        if kind == "paste":
            view = paste_view(view, rng.choices(sources, k=rng.randint(1, 3)), rng)
        if view.record.regions:
            yield replace(view, record=replace(view.record, id=f"view-{index:06d}"))


def write_pack(path: Path, views: Iterable[View]) -> int:
    """Write views as a pack (tar of images/*.jpg and annotations.jsonl); how many there were."""
    lines = []
    fresh = path.with_suffix(".new")
    with tarfile.open(fresh, "w") as tar:
        for view in views:
            picture = io.BytesIO()
            Image.fromarray(view.image).save(picture, "JPEG", quality=92)
            name = f"images/{view.record.id}.jpg"
            _add(tar, name, picture.getvalue())
            lines.append(json.dumps(_annotation(view, name), ensure_ascii=False))
        _add(tar, "annotations.jsonl", "\n".join(lines).encode())
    fresh.replace(path)
    return len(lines)


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    tar.addfile(member, io.BytesIO(content))


def _annotation(view: View, file: str) -> dict:
    record, (height, width) = view.record, view.image.shape[:2]
    regions = [
        {"id": index, "label": r.label, "label_zh": r.label_zh, "box": list(r.box_xyxy),
         "mask": r.rle, "kind": r.kind}
        for index, r in enumerate(record.regions)
    ]  # fmt: skip
    return {
        "id": record.id, "source": record.source, "license": record.license, "file": file,
        "width": width, "height": height, "split": record.split, "regions": regions,
        "captions": list(record.captions),
    }  # fmt: skip


def _is_cutout(region: RegionRecord) -> bool:
    """Whether the region has a mask that is large enough to be pasted elsewhere."""
    if region.rle is None or region.kind == "stuff":
        return False
    x1, y1, x2, y2 = region.box_xyxy
    return (x2 - x1) * (y2 - y1) >= MIN_CUTOUT_PX


def _random_window(size_wh: tuple[int, int], rng: random.Random) -> Window:
    width, height = size_wh
    area, aspect = rng.uniform(0.35, 1.0), 2 ** rng.uniform(-0.4, 0.4)
    wide = min(1.0, (area * aspect) ** 0.5) * width
    high = min(1.0, (area / aspect) ** 0.5) * height
    left, top = rng.uniform(0, width - wide), rng.uniform(0, height - high)
    return left, top, left + wide, top + high


def _cut(
    image: Image.Image, window: Window, side: int, flip: bool, how: Image.Resampling
) -> Image.Image:
    cut = image.resize((side, side), how, box=window)
    return cut.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if flip else cut


def _cut_region(
    region: RegionRecord, size_wh: tuple[int, int], window: Window, side: int, flip: bool
) -> RegionRecord | None:
    left, top, right, bottom = window
    scale_x, scale_y = side / (right - left), side / (bottom - top)
    if region.rle is not None:
        mask = decode_rle(region.rle)
        cut = np.asarray(_cut(Image.fromarray(mask), window, side, flip, Image.Resampling.NEAREST))
        if cut.sum() < MIN_VISIBLE * mask.sum() * scale_x * scale_y:
            return None
        return _with_mask(region, cut)
    x1, y1, x2, y2 = region.box_xyxy
    u1, u2 = ((min(max(x, left), right) - left) * scale_x for x in (x1, x2))
    v1, v2 = ((min(max(y, top), bottom) - top) * scale_y for y in (y1, y2))
    if (u2 - u1) * (v2 - v1) < MIN_VISIBLE * (x2 - x1) * (y2 - y1) * scale_x * scale_y:
        return None
    if flip:
        u1, u2 = side - u2, side - u1
    return replace(region, box_xyxy=(u1, v1, u2, v2))


def _with_mask(region: RegionRecord, mask: np.ndarray) -> RegionRecord | None:
    """The region with another mask; None when next to nothing is left of it."""
    box = mask_to_box_xyxy(mask)
    if box is None or mask.sum() < MIN_SHARE * mask.size:
        return None
    x1, y1, x2, y2 = box
    return replace(region, rle=encode_rle(mask), box_xyxy=(float(x1), float(y1), x2, y2))


def _cutout(
    record: ImageRecord, region: RegionRecord, side: int, rng: random.Random
) -> tuple[Image.Image, Image.Image]:
    """The region's pixels and its alpha, scaled to 15-70 % of the side, flipped or not."""
    mask = decode_rle(region.rle or {})
    box = mask_to_box_xyxy(mask)
    image = Image.fromarray(record.load()).crop(box)
    alpha = Image.fromarray(mask * np.uint8(255)).crop(box)
    scale = rng.uniform(0.15, 0.7) * side / max(image.size)
    wide, high = (max(4, round(n * scale * 2 ** rng.uniform(-0.2, 0.2))) for n in image.size)
    image, alpha = image.resize((wide, high)), alpha.resize((wide, high))
    if rng.random() < 0.5:
        flip = Image.Transpose.FLIP_LEFT_RIGHT
        image, alpha = image.transpose(flip), alpha.transpose(flip)
    return image, alpha


def _recolour(image: Image.Image, rng: random.Random) -> Image.Image:
    for enhancer in (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color):
        image = enhancer(image).enhance(rng.uniform(0.75, 1.25))
    return image
