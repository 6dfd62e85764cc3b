"""Data to try the engine on: pictures of scikit-image with hand-made regions, and a made-up clip.

Knows these pictures only; they are in the public domain or CC0.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image, ImageDraw

from perceive_anything.data.schema import (
    ByteRange,
    ClipRecord,
    ImageRecord,
    RegionRecord,
    TrackRecord,
)
from perceive_anything.errors import MissingExtraError
from perceive_anything.masks import encode_rle, mask_to_box_xyxy, polygons_to_mask

Shape = tuple[float, ...]  # 4 numbers are a box x1, y1, x2, y2; more are a polygon x, y, x, y ...
Named = tuple[str, str, str, Shape]

_CUP: Shape = (
    173, 105, 180, 80, 200, 50, 225, 31, 255, 20, 285, 18, 325, 23, 355, 36, 380, 56, 400, 84,
    407, 110, 406, 135, 398, 170, 388, 205, 370, 225, 345, 232, 322, 238, 317, 255, 327, 262,
    325, 275, 300, 284, 270, 284, 252, 285, 240, 300, 222, 308, 205, 306, 197, 295, 198, 272,
    208, 245, 217, 234, 195, 215, 182, 190, 176, 160, 174, 130,
)  # fmt: skip
_PICTURES: dict[str, tuple[tuple[int, int], tuple[Named, ...]]] = {
    "astronaut.png": ((512, 512), (
        ("person", "人", "instance", (20, 14, 370, 512)),
        ("helmet", "头盔", "instance", (278, 344, 510, 512)),
        ("rocket", "火箭", "instance", (354, 0, 474, 284)),
        ("flag", "旗帜", "instance", (0, 0, 94, 510)),
    )),
    "chelsea.png": ((451, 300), (
        ("cat", "猫", "instance", (4, 0, 384, 300)),
        ("eye", "眼睛", "part", (133, 84, 208, 148)),
        ("eye", "眼睛", "part", (292, 104, 344, 164)),
        ("nose", "鼻子", "part", (230, 222, 294, 266)),
    )),
    "coffee.png": ((600, 400), (
        ("cup", "杯子", "instance", _CUP),
        ("spoon", "勺子", "instance", (314, 62, 424, 328)),
        ("plate", "盘子", "instance", (76, 70, 480, 386)),
    )),
    "rocket.jpg": ((640, 427), (
        ("rocket", "火箭", "instance", (306, 124, 338, 408)),
        ("tower", "塔", "instance", (2, 0, 90, 420)),
        ("tower", "塔", "instance", (558, 0, 640, 427)),
        ("tower", "塔", "instance", (170, 120, 208, 410)),
    )),
}  # fmt: skip
_CLIP_WH, _CUP_PX, _FRAMES = (320, 240), 92, 48
_AWAY = range(26, 38)


def demo_records(
    kind: Literal["images", "clip"], folder: Path, seed: int
) -> Sequence[ImageRecord | ClipRecord]:
    """Records to try the engine on.

    Args:
        kind: Four pictures with 15 regions, or a clip of 48 frames in which a cup wanders over a
            picture, leaves it and comes back.
        folder: Where the frames of the clip are written.
        seed: Seed of the clip.

    Raises:
        MissingExtraError: scikit-image is not installed.
    """
    return _images() if kind == "images" else [_clip(folder, seed)]


def _picture(name: str) -> Path:
    found = find_spec("skimage")
    if found is None or found.origin is None:
        raise MissingExtraError(
            "the demo needs the pictures of scikit-image, which is not installed.\n"
            "  Install it with: pip install scikit-image",
            code="missing_extra",
        )
    return Path(found.origin).parent / "data" / name


def _images() -> list[ImageRecord]:
    return [
        ImageRecord(
            Path(name).stem, "scikit-image", "public domain", "train", size_wh, (),
            tuple(_region(number, named, size_wh) for number, named in enumerate(regions)),
            ByteRange(str(_picture(name))),
        )
        for name, (size_wh, regions) in _PICTURES.items()
    ]  # fmt: skip


def _region(number: int, named: Named, size_wh: tuple[int, int]) -> RegionRecord:
    label, label_zh, kind, shape = named
    if len(shape) == 4:
        x1, y1, x2, y2 = map(float, shape)
        return RegionRecord(number, label, label_zh, (x1, y1, x2, y2), None, kind)
    mask = polygons_to_mask([shape], size_wh[::-1])
    x1, y1, x2, y2 = map(float, mask_to_box_xyxy(mask) or ())
    return RegionRecord(number, label, label_zh, (x1, y1, x2, y2), encode_rle(mask), kind)


def _clip(folder: Path, seed: int) -> ClipRecord:
    folder.mkdir(parents=True, exist_ok=True)
    ground = Image.open(_picture("rocket.jpg")).convert("RGB").resize(_CLIP_WH)
    cup, shape = _cutout()
    boxes, rles, frames = {}, {}, []
    for number, (x, y) in enumerate(_way(seed)):
        frame = ground.copy()
        frame.paste(cup, (x, y), shape)
        seen = Image.new("L", _CLIP_WH)
        seen.paste(shape, (x, y))
        mask = np.asarray(seen) > 127
        box = mask_to_box_xyxy(mask)
        if box is not None and number not in _AWAY:
            boxes[number], rles[number] = tuple(map(float, box)), encode_rle(mask)
        path = folder / f"{number:04d}.png"
        frame.save(path)
        frames.append(ByteRange(str(path)))
    note = {"caption": "a cup moves over a picture of a rocket"}
    track = TrackRecord(0, "cup", "杯子", boxes, {}, rles, note)  # type: ignore[arg-type]
    return ClipRecord("cup", "made up", "CC0", "train", _CLIP_WH, tuple(frames), (track,))


def _cutout() -> tuple[Image.Image, Image.Image]:
    """The cup of the coffee picture and its shape, small."""
    picture = Image.open(_picture("coffee.png")).convert("RGB")
    shape = Image.new("L", picture.size)
    ImageDraw.Draw(shape).polygon(_CUP, fill=255)
    box = shape.getbbox()
    small = (_CUP_PX, round(_CUP_PX * (box[3] - box[1]) / (box[2] - box[0]))) if box else (1, 1)
    return picture.crop(box).resize(small), shape.crop(box).resize(small)


def _way(seed: int) -> list[tuple[int, int]]:
    """Where the cup's corner is: it waits, goes right and out of the picture, and comes back."""
    rng = np.random.default_rng(seed)
    width, _ = _CLIP_WH
    stops = {0: 16, 12: 24, _AWAY.start: width + 4, _AWAY.stop: width + 4, _FRAMES - 1: 150}
    xs = np.interp(range(_FRAMES), list(stops), list(stops.values()))
    ys = 70 + 14 * np.sin(np.arange(_FRAMES) / 6 + rng.uniform(0, 6))
    return [(round(x), round(y)) for x, y in zip(xs, ys, strict=True)]
