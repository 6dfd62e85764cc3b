"""A picture with the region that is asked about marked on it, for judges and for contact sheets."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw

from perceive_anything.draw import draw_regions
from perceive_anything.export import prompt_to_json
from perceive_anything.media import Pixels
from perceive_anything.types import Box, Prompt

__all__ = ["marked"]

COLOR, THIN = (240, 68, 56), 200  # of a box; its line is a 200th of the picture's longer side


def marked(image: Pixels, prompt: Prompt) -> Pixels:
    """A copy of a picture with a prompt on it.

    Args:
        image: uint8 RGB (H, W, 3).
        prompt: In its pixels.

    Returns:
        uint8 RGB (H, W, 3).
    """
    if isinstance(prompt, Box):
        picture = Image.fromarray(image)
        line_px = max(2, max(image.shape[:2]) // THIN)
        ImageDraw.Draw(picture).rectangle(prompt.xyxy, outline=COLOR, width=line_px)
        return np.asarray(picture)
    empty = np.zeros(image.shape[:2], bool)
    return draw_regions(image, [empty], [(0, 0, 0, 0)], [""], [prompt_to_json(prompt)])
