"""Basic colour names measured from pixels.

Knows RGB values and eleven names. Refuses to know what the region is.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from perceive_anything.data.knowledge import COLOURS

__all__ = ["COLORFUL", "colour_shares", "name_colours"]

COLORFUL = "colorful"
MIN_FIRST, MIN_SECOND = 0.35, 0.25
_SHADES = (("brown", "orange"), ("red", "pink"), ("blue", "purple"))  # one thing, two lights
_BITS = 5
_MAX_PIXELS = 6000


def colour_shares(pixels: np.ndarray) -> np.ndarray:
    """How large a share of the pixels has each basic colour.

    Args:
        pixels: uint8 RGB (N, 3).

    Returns:
        float (11,), in the order of `COLOURS`; all zero for no pixels.
    """
    if len(pixels) == 0:
        return np.zeros(len(COLOURS))
    step = max(1, len(pixels) // _MAX_PIXELS)
    cells = (pixels[::step] >> (8 - _BITS)).astype(np.int64)
    index = (cells[:, 0] << (2 * _BITS)) | (cells[:, 1] << _BITS) | cells[:, 2]
    counts = np.bincount(_colour_table()[index], minlength=len(COLOURS))
    return counts / counts.sum()


def name_colours(shares: np.ndarray, around: np.ndarray | None = None) -> tuple[str, ...]:
    """One or two colour names, or "colorful", or nothing where no colour stands out.

    Args:
        shares: Shares inside the region, from `colour_shares`.
        around: Shares of its surroundings where the region's mask is unknown: a colour that is as
            common around the region belongs to the background, not to the object.
    """
    shares = shares.copy()
    if around is not None:
        shares[(around >= shares * 0.9) | (around >= 0.25)] = 0.0
    for first, second in _SHADES:
        pair = [COLOURS.index(first), COLOURS.index(second)]
        main = pair[int(np.argmax(shares[pair]))]
        shares[main], shares[pair[0] + pair[1] - main] = shares[pair].sum(), 0.0
    order = np.argsort(-shares, kind="stable")
    first, second = order[:2]
    if shares[first] < MIN_FIRST:
        several = (shares[3:] >= 0.1).sum() >= 3
        return (COLORFUL,) if several else ()
    if shares[second] >= MIN_SECOND:
        return COLOURS[first], COLOURS[second]
    return (COLOURS[first],)


@lru_cache(maxsize=1)
def _colour_table() -> np.ndarray:
    """The colour index of every RGB value at 5 bits a channel: uint8 (32768,)."""
    levels = (np.arange(1 << _BITS) + 0.5) / (1 << _BITS)
    red, green, blue = (axis.ravel() for axis in np.meshgrid(levels, levels, levels, indexing="ij"))
    value = np.maximum(np.maximum(red, green), blue)
    chroma = value - np.minimum(np.minimum(red, green), blue)
    saturation = chroma / value
    hue = _hue_degrees(red, green, blue, value, np.maximum(chroma, 1e-6))
    names = np.full(value.shape, "gray", dtype="<U6")
    rules = [
        (hue < 12) | (hue >= 345), (hue >= 12) & (hue < 40), (hue >= 40) & (hue < 68),
        (hue >= 68) & (hue < 172), (hue >= 172) & (hue < 258), (hue >= 258) & (hue < 300),
        (hue >= 300) & (hue < 345),
    ]  # fmt: skip
    for rule, name in zip(
        rules, ("red", "orange", "yellow", "green", "blue", "purple", "pink"), strict=True
    ):
        names[rule] = name
    dull = (saturation < 0.6) | (value < 0.56)
    names[rules[1] & dull] = "brown"
    names[rules[2] & (value < 0.5)] = "brown"
    names[rules[2] & (saturation < 0.4) & (value < 0.7)] = "brown"
    names[(rules[2]) & (hue > 56) & (value < 0.6)] = "green"
    names[rules[0] & (value < 0.4) & (hue < 12) & (saturation < 0.7)] = "brown"
    names[rules[0] & (saturation < 0.55) & (value > 0.7)] = "pink"
    names[rules[6] & (value < 0.5)] = "purple"
    warm_gray = np.isin(names, ("brown", "pink", "orange", "yellow")) & (
        (saturation < 0.2) | ((saturation < 0.3) & (chroma < 0.12))
    )
    pale = warm_gray | (saturation < 0.12) | (chroma < 0.09) | ((saturation < 0.2) & (value > 0.85))
    names[pale] = "gray"
    names[pale & (value > 0.74)] = "white"
    names[(value < 0.17) | ((value < 0.27) & (saturation < 0.45))] = "black"
    return np.array([COLOURS.index(name) for name in names], dtype=np.uint8)


def _hue_degrees(
    red: np.ndarray, green: np.ndarray, blue: np.ndarray, value: np.ndarray, chroma: np.ndarray
) -> np.ndarray:
    hue = np.where(value == blue, (red - green) / chroma + 4, 0.0)
    hue = np.where(value == green, (blue - red) / chroma + 2, hue)
    hue = np.where(value == red, (green - blue) / chroma, hue)
    return (hue * 60) % 360
