"""Pictures and a clip to begin with, from installed packages; a drawing if there are none.

Nothing is fetched.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw

from perceive_anything.demo.pictures import photo_uri
from perceive_anything.media import load_image

if TYPE_CHECKING:
    from perceive_anything.media import Pixels

# Name, package, file in it. Gradio's are on every machine that runs the demo.
PHOTOS = (
    ("coffee", "skimage", "data/coffee.png"),
    ("cat", "skimage", "data/chelsea.png"),
    ("lion", "gradio", "media_assets/images/lion.jpg"),
    ("cheetah", "gradio", "media_assets/images/cheetah.jpg"),
    ("astronaut", "skimage", "data/astronaut.png"),
)
THUMBNAIL_PX = 120
CLIP_FRAMES, CLIP_WH = 36, (320, 240)


@dataclass(frozen=True, slots=True)
class Example:
    """A picture by name; read from `path`, or drawn if there is none."""

    name: str
    path: Path | None = None

    @property
    def array(self) -> Pixels:
        """The picture, uint8 (H, W, 3)."""
        return load_image(self.path) if self.path is not None else drawn_scene()

    def thumbnail(self) -> dict[str, str]:
        """What the canvas shows of it."""
        return {"name": self.name, "thumb": photo_uri(self.array, THUMBNAIL_PX)}


DRAWING = Example("drawing")


@lru_cache(maxsize=1)
def photo_examples() -> tuple[Example, ...]:
    """Photos of installed packages, or a drawing if there are none."""
    found = [Example(name, _file(package, file)) for name, package, file in PHOTOS]
    return tuple(example for example in found if example.path is not None) or (DRAWING,)


def _file(package: str, file: str) -> Path | None:
    """A file of a package, which is not imported."""
    spec = find_spec(package)
    path = Path(spec.origin).parent / file if spec is not None and spec.origin else None
    return path if path is not None and path.is_file() else None


def drawn_scene(size_wh: tuple[int, int] = (640, 420), ball_x: float = 0.3) -> Pixels:
    """A meadow with a house, a tree and a ball.

    Args:
        size_wh: Width and height in pixels.
        ball_x: Where the ball is, from 0 at the left edge to 1 at the right.
    """
    width, height = size_wh
    shade = np.linspace(0, 1, height)[:, None, None]
    sky = (1 - shade) * (120, 180, 235) + shade * (225, 240, 250)
    picture = Image.fromarray(np.broadcast_to(sky, (height, width, 3)).astype(np.uint8))
    pen = ImageDraw.Draw(picture)

    def at(*shares: float) -> list[float]:
        return [share * (height if place % 2 else width) for place, share in enumerate(shares)]

    pen.rectangle(at(0, 0.62, 1, 1), fill=(104, 160, 72))
    pen.rectangle(at(0.56, 0.34, 0.84, 0.7), fill=(214, 178, 138))
    pen.polygon(at(0.52, 0.36, 0.7, 0.14, 0.88, 0.36), fill=(158, 62, 48))
    pen.rectangle(at(0.66, 0.5, 0.74, 0.7), fill=(96, 62, 40))
    _draw_ball(pen, ball_x * width, 0.8 * height, 0.1 * height)
    pen.rectangle(at(0.44, 0.5, 0.48, 0.96), fill=(104, 72, 44))
    pen.ellipse(at(0.36, 0.16, 0.56, 0.58), fill=(52, 116, 52))
    return np.asarray(picture)


def _draw_ball(pen: ImageDraw.ImageDraw, x: float, y: float, radius: float) -> None:
    frame = (x - radius, y - radius, x + radius, y + radius)
    pen.ellipse(frame, fill=(236, 92, 36))
    pen.pieslice(frame, 20, 80, fill=(250, 232, 200))
    pen.pieslice(frame, 200, 260, fill=(250, 232, 200))


def write_clip(path: Path) -> Path:
    """Write the example clip: a camera that looks away from the first example and back."""
    from perceive_anything.video_writer import VideoWriter

    array = photo_examples()[0].array
    with VideoWriter(path, 12, CLIP_WH) as writer:
        for share in np.linspace(0, 1, CLIP_FRAMES):
            writer.write(_panned(array, 1 - abs(1 - 2 * float(share))))
    return path


def _panned(array: Pixels, share: float) -> Pixels:
    """A part of a photo, further right the larger the share, at the clip's size."""
    height, width = array.shape[:2]
    wide, tall = round(0.55 * width), round(0.55 * width * CLIP_WH[1] / CLIP_WH[0])
    left, top = round((0.05 + 0.4 * share) * width), (height - tall) // 3
    part = Image.fromarray(array[top : top + tall, left : left + wide])
    return np.asarray(part.resize(CLIP_WH))
