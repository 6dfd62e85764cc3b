"""Made-up clips with exact masks: cut-outs of photos move over a photo that pans and zooms.

Knows records and arrays; nothing of models. A clip follows from its seed alone.
Shape suffixes: T frames, N tracked objects, S side in pixels.
"""

from __future__ import annotations

import math
import random
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image, ImageEnhance, ImageFilter

from perceive_anything.data.augment import MIN_CUTOUT_PX
from perceive_anything.data.schema import ImageRecord, RegionRecord
from perceive_anything.masks import decode_rle, mask_area, mask_to_box_xyxy

MIN_VISIBLE_FIRST = 0.6
MIN_OBJECT_SHARE = 0.008
ABSENCE_SHARE = 0.17
TWIN_SHARE = 0.35
KNOT_FRAMES = 4
MAX_TRIES = 40


@dataclass(frozen=True, slots=True)
class Masklet:
    """A clip and where its tracked objects are.

    Attributes:
        frames: (T, S, S, 3) uint8.
        masks: (T, N, S, S) bool, the visible part of each object.
    """

    frames: np.ndarray
    masks: np.ndarray


@dataclass(frozen=True, slots=True)
class _Layer:
    """Pixels (RGBA) and how they lie on each frame.

    Attributes:
        picture: The pixels; alpha is the layer's own shape.
        centres: (T, 2) where the picture's centre lies, in shares of the side.
        scales: (T,) pixels of the frame a pixel of the picture.
        angles: (T,) radians.
        shape: Alpha of the tracked part where it is not the layer's own.
    """

    picture: Image.Image
    centres: np.ndarray
    scales: np.ndarray
    angles: np.ndarray
    shape: Image.Image | None = None

    def coefficients(self, frame: int, side: int) -> tuple[float, ...]:
        """Where each pixel of the frame comes from, as Pillow's affine transform wants it."""
        cosine = math.cos(self.angles[frame]) / self.scales[frame]
        sine = math.sin(self.angles[frame]) / self.scales[frame]
        x, y = self.centres[frame] * side
        wide, high = self.picture.size
        return (
            cosine, sine, wide / 2 - cosine * x - sine * y,
            -sine, cosine, high / 2 + sine * x - cosine * y,
        )  # fmt: skip

    def coverage(self, frame: int, side: int) -> np.ndarray:
        """Share of each pixel of the frame that the tracked shape covers, (S, S), 0..1."""
        shape = self.shape or self.picture.getchannel("A")
        return np.asarray(self._warp(shape, frame, side), dtype=np.float32) / 255

    def paint(self, canvas: np.ndarray, frame: int, side: int) -> np.ndarray:
        """The canvas (S, S, 3) with the layer over it."""
        picture = np.asarray(self._warp(self.picture.convert("RGB"), frame, side), np.float32)
        alpha = self._warp(self.picture.getchannel("A"), frame, side)
        share = np.asarray(alpha, dtype=np.float32)[..., None] / 255
        return canvas + share * (picture - canvas)

    def own_area(self, frame: int) -> float:
        """Pixels that the whole tracked shape takes on a frame, hidden or not."""
        shape = np.asarray(self.shape or self.picture.getchannel("A"))
        return float((shape > 127).sum() * self.scales[frame] ** 2)

    def _warp(self, image: Image.Image, frame: int, side: int) -> Image.Image:
        return image.transform(
            (side, side), Image.Transform.AFFINE, self.coefficients(frame, side),
            Image.Resampling.BILINEAR,
        )  # fmt: skip


class MaskletMaker:
    """Makes clips from records.

    Args:
        records: Records of one split; clips for training and for validation have makers of
            their own.
        side: Side of the square frames in pixels.
        num_frames: Frames of a clip.
        seed: Seed of all chance.
        companions: Share of the clips in which a tracked object has something that moves along
            with it, as a hand on a thing, or a second copy of it that goes its own way.
    """

    def __init__(
        self,
        records: Iterable[ImageRecord],
        side: int,
        num_frames: int,
        seed: int,
        companions: float = 0.0,
    ) -> None:
        self.side, self.num_frames, self.seed = side, num_frames, seed
        self.companions = companions
        records = list(records)
        self.backgrounds = [r for r in records if 2 * min(r.size_wh) >= side]
        groups: dict[str, list[tuple[ImageRecord, RegionRecord]]] = defaultdict(list)
        for record in records:
            for region in record.regions:
                x1, y1, x2, y2 = region.box_xyxy
                large = (x2 - x1) * (y2 - y1) >= MIN_CUTOUT_PX
                if region.rle is not None and region.kind != "stuff" and large:
                    groups[record.source.split(" ")[0]].append((record, region))
        self.cutouts = [groups[name] for name in sorted(groups)]

    def make(self, index: int) -> Masklet:
        """Clip number `index`; the same one on every call."""
        for attempt in range(MAX_TRIES):
            rng = random.Random(f"{self.seed}/{index}/{attempt}")
            layers, tracked = self._layers(rng)
            if _well_seen(layers, tracked, self.side):
                break
        return _render(layers, tracked, self.side, rng)

    def _layers(self, rng: random.Random) -> tuple[list[_Layer], list[int]]:
        """Background, objects and occluders, from back to front; which of them are tracked."""
        background = self._background(rng)
        objects = [self._object(rng, 0.15, 0.6) for _ in range(rng.choice((1, 2, 2)))]
        occluders = [self._object(rng, 0.15, 0.5) for _ in range(rng.choice((0, 1, 1, 2)))]
        if rng.random() < ABSENCE_SHARE:
            objects[0] = _with_absence(objects[0], self.side, rng)
        tracked = list(range(1, 1 + len(objects)))
        if background.shape is not None and rng.random() < 0.5:
            tracked = [0, *tracked[:1]]
        layers = [background, *objects, *occluders]
        if rng.random() < 0.3 and len(tracked) == 1:
            layers[1], layers[-1], tracked = layers[-1], layers[1], [len(layers) - 1]
        if self.companions and rng.random() < self.companions:
            owner = rng.choice([index for index in tracked if index])
            place = owner + rng.randint(0, 1)  # behind it or in front
            layers.insert(place, self._companion(layers[owner], rng))
            tracked = [index + (index >= place) for index in tracked]
        return layers, tracked

    def _companion(self, owner: _Layer, rng: random.Random) -> _Layer:
        """What makes an object hard to tell: its own copy, or something that it carries along."""
        extents = max(owner.picture.size) * owner.scales / self.side
        if rng.random() < TWIN_SHARE:
            return self._object(rng, 0.7 * extents[0], 1.1 * extents[0], owner.picture)
        layer = self._object(rng, 0.4 * extents[0], 0.9 * extents[0])
        direction = rng.uniform(0, 2 * math.pi)
        reach = rng.uniform(0.3, 0.6) * extents[:, None]
        offset = reach * np.array([math.cos(direction), math.sin(direction)])
        return replace(
            layer, centres=owner.centres + offset + _path(rng, self.num_frames, 2, 0.03, 0.15)
        )

    def _background(self, rng: random.Random) -> _Layer:
        record = rng.choice(self.backgrounds)
        picture = Image.fromarray(record.load()).convert("RGBA")
        regions = [r for r in record.regions if r.rle is not None and r.kind == "instance"]
        shape = None
        if regions:
            shape = Image.fromarray(decode_rle(rng.choice(regions).rle or {}) * np.uint8(255))
        wander = _path(rng, self.num_frames, 2, 0.05, 0.25)
        zooms = np.exp(_path(rng, self.num_frames, 1, 0.06, 0.2)[:, 0])
        smallest = self.side / min(picture.size)
        scales = smallest * 1.15 * rng.uniform(1.0, 1.5) * zooms / zooms.min()
        spare = (np.array(picture.size) * scales[:, None] / self.side - 1) / 2
        centres = 0.5 + np.clip(wander, -1, 1) * np.maximum(spare, 0)
        return _Layer(picture, centres, scales, np.zeros(self.num_frames), shape)

    def _object(
        self,
        rng: random.Random,
        smallest: float,
        largest: float,
        picture: Image.Image | None = None,
    ) -> _Layer:
        """A cut-out of `smallest`..`largest` of the side that wanders, grows and turns."""
        picture = picture or self._cutout(rng)
        count = self.num_frames
        size = math.exp(rng.uniform(math.log(smallest), math.log(largest)))
        speed = rng.choice((0.3, 0.7, 1.0, 1.5))
        start = np.array([rng.uniform(0.15, 0.85), rng.uniform(0.15, 0.85)])
        centres = _reflect(start + _path(rng, count, 2, 0.13 * speed, 9.0), 0.0, 1.0)
        growth = np.exp(_path(rng, count, 1, 0.12 * speed, 0.5)[:, 0])
        angles = rng.uniform(-0.3, 0.3) + _path(rng, count, 1, 0.2 * speed, 1.5)[:, 0]
        scale = size * self.side / max(picture.size)
        if scale < 0.7:  # a transform does not average over what it leaves out
            wide, high = (max(4, round(n * scale)) for n in picture.size)
            picture, scale = picture.resize((wide, high), Image.Resampling.LANCZOS), 1.0
        return _Layer(picture, centres, scale * growth, angles)

    def _cutout(self, rng: random.Random) -> Image.Image:
        """Pixels and alpha of a random region that fills a fair part of its box."""
        for _ in range(MAX_TRIES):
            record, region = rng.choice(rng.choice(self.cutouts))
            mask = decode_rle(region.rle or {})
            box = mask_to_box_xyxy(mask)
            if box is not None and mask_area(mask) >= 0.2 * _box_area(box):
                break
        picture = Image.fromarray(record.load()).convert("RGBA")
        picture.putalpha(Image.fromarray(mask * np.uint8(255)))
        picture = picture.crop(box)
        framed = Image.new("RGBA", (picture.width + 4, picture.height + 4))
        framed.paste(picture, (2, 2))  # empty edges, or a transform would cut them hard
        if rng.random() < 0.5:
            framed = framed.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        return framed


def _box_area(box_xyxy: tuple[int, int, int, int]) -> int:
    x1, y1, x2, y2 = box_xyxy
    return (x2 - x1) * (y2 - y1)


def _path(
    rng: random.Random, num_frames: int, num_axes: int, step: float, limit: float
) -> np.ndarray:
    """A smooth walk from 0, (T, axes): `step` is its spread from knot to knot."""
    knots = np.zeros((num_frames // KNOT_FRAMES + 4, num_axes))
    for row in range(2, len(knots)):
        knots[row] = knots[row - 1] + [rng.gauss(0, step) for _ in range(num_axes)]
    knots[0] = -knots[2]
    times = np.arange(num_frames) / KNOT_FRAMES
    index, u = times.astype(int), (times % 1)[:, None]
    a, b, c, d = (knots[index + offset] for offset in range(4))
    curve = b + 0.5 * u * (c - a + u * (2 * a - 5 * b + 4 * c - d + u * (3 * (b - c) + d - a)))
    return np.clip(curve, -limit, limit)


def _reflect(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """Walks that turn round at both ends."""
    span = high - low
    return low + span - np.abs((values - low) % (2 * span) - span)


def _with_absence(layer: _Layer, side: int, rng: random.Random) -> _Layer:
    """The layer leaves the frame for some frames in the middle and returns."""
    count = len(layer.scales)
    gone = rng.randint(1, max(1, count // 4))
    first = rng.randint(1, max(1, count - gone - 1))
    far = 0.5 + 0.75 * max(layer.picture.size) * layer.scales.max() / side
    angle = rng.choice((0, 1, 2, 3)) * math.pi / 2
    target = 0.5 + far * np.array([math.cos(angle), math.sin(angle)])
    distance = np.maximum(first - np.arange(count), np.arange(count) - (first + gone - 1))
    share = np.clip(1 - distance / 3, 0, 1)[:, None]
    share[distance <= 0] = 1
    share[0] = 0
    return replace(layer, centres=layer.centres * (1 - share) + share * target)


def _visible(layers: Sequence[_Layer], frame: int, side: int) -> list[np.ndarray]:
    """What is seen of each layer's shape, bool (S, S) each."""
    seen: list[np.ndarray] = []
    for layer in layers:
        covered = layer.coverage(frame, side) > 0.5
        seen = [*(mask & ~covered for mask in seen), covered]
    return seen


def _well_seen(layers: Sequence[_Layer], tracked: Sequence[int], side: int) -> bool:
    """Whether each tracked object is large enough and mostly visible on the first frame."""
    seen = _visible(layers, 0, side)
    for index in tracked:
        area = seen[index].sum()
        if area < max(MIN_VISIBLE_FIRST * layers[index].own_area(0), MIN_OBJECT_SHARE * side**2):
            return False
    return True


def _render(
    layers: Sequence[_Layer], tracked: Sequence[int], side: int, rng: random.Random
) -> Masklet:
    count = len(layers[0].scales)
    looks = [[rng.uniform(0.75, 1.25) for _ in range(3)] for _ in range(2)]
    blur = rng.choice((0.0, 0.0, 0.5, 1.0))
    frames, masks = [], []
    for frame in range(count):
        canvas = np.zeros((side, side, 3), dtype=np.float32)
        for layer in layers:
            canvas = layer.paint(canvas, frame, side)
        share = frame / max(1, count - 1)
        look = [(1 - share) * first + share * last for first, last in zip(*looks, strict=True)]
        picture = Image.fromarray(np.rint(canvas).clip(0, 255).astype(np.uint8))
        frames.append(np.asarray(_finish(picture, look, blur)))
        seen = _visible(layers, frame, side)
        masks.append(np.stack([seen[index] for index in tracked]))
    return Masklet(np.stack(frames), np.stack(masks))


def _finish(picture: Image.Image, look: Sequence[float], blur: float) -> Image.Image:
    """Brightness, contrast, colour and blur of one frame."""
    enhancers = (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color)
    for enhancer, factor in zip(enhancers, look, strict=True):
        picture = enhancer(picture).enhance(factor)
    return picture.filter(ImageFilter.GaussianBlur(blur)) if blur else picture
