"""Prompts and frames: frozen values over numpy, checked at the door.

Coordinates are pixels of the original image, x right, y down. Knows no models and no files.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from perceive_anything.errors import PromptError

TOLERANCE_PX = 0.5


@dataclass(frozen=True, slots=True)
class Box:
    """A box prompt.

    Args:
        x1: Left edge in pixels.
        y1: Top edge.
        x2: Right edge, greater than x1.
        y2: Bottom edge, greater than y1.

    Raises:
        PromptError: A number is not finite, or the box is inverted.

    Example:
        >>> Box(40, 10, 180, 120).xyxy
        (40.0, 10.0, 180.0, 120.0)
    """

    x1: float
    y1: float
    x2: float
    y2: float
    type: ClassVar[str] = "box"

    def __post_init__(self) -> None:
        """Check the numbers."""
        for name in ("x1", "y1", "x2", "y2"):
            object.__setattr__(self, name, _finite(getattr(self, name), "box"))
        if self.x1 >= self.x2 or self.y1 >= self.y2:
            raise PromptError(
                f"box {_numbers(self.xyxy)} is inverted or has no area.\n"
                "  Boxes are pixel x1,y1,x2,y2 with x1 < x2 and y1 < y2. Width and height instead? "
                "use x1,y1,x1+width,y1+height.",
                code="box_inverted",
            )

    @property
    def xyxy(self) -> tuple[float, float, float, float]:
        """(x1, y1, x2, y2)."""
        return self.x1, self.y1, self.x2, self.y2

    def validate_for(self, size_wh: tuple[int, int], name: str = "image") -> None:
        """Check that the box lies in an image.

        Args:
            size_wh: Width and height of the image.
            name: Of the image, for the message.

        Raises:
            PromptError: It reaches outside by more than half a pixel, or lies wholly outside.
        """
        width, height = size_wh
        low, right, bottom = -TOLERANCE_PX, width + TOLERANCE_PX, height + TOLERANCE_PX
        inside = min(self.x1, self.y1) >= low and self.x2 <= right and self.y2 <= bottom
        overlaps = self.x1 < width and self.y1 < height and self.x2 > 0 and self.y2 > 0
        if not (inside and overlaps):
            raise PromptError(
                f'box {_numbers(self.xyxy)} lies outside the {width}x{height} image "{name}".\n'
                f"  Boxes are pixel x1,y1,x2,y2 with x2 <= {width} and y2 <= {height}. "
                f"Normalised coordinates? multiply by {width} and {height}.",
                code="box_outside_image",
            )


@dataclass(frozen=True, slots=True)
class Points:
    """Points that belong together to one region, with a box if you like.

    Args:
        xy: One or more (x, y) in pixels.
        labels: 1 inside the region, 0 outside, one a point; all inside by default.
        box: A box around the same region.

    Raises:
        PromptError: No point, a number that is not finite, or labels that do not fit.

    Example:
        >>> Points([(40, 60), (50, 70)], labels=[1, 0]).labels
        (1, 0)
    """

    xy: Sequence[tuple[float, float]]
    labels: Sequence[int] | None = None
    box: Box | None = None
    type: ClassVar[str] = "points"

    def __post_init__(self) -> None:
        """Check and freeze."""
        try:
            pairs = tuple((_finite(x, "point"), _finite(y, "point")) for x, y in self.xy)
        except (TypeError, ValueError) as error:
            if isinstance(error, PromptError):
                raise
            raise PromptError(
                f"points {self.xy!r} are not pairs.\n  Expected [(x, y), ...] in pixels.",
                code="prompt_syntax",
            ) from error
        if not pairs:
            raise PromptError(
                "a points prompt has no point.\n  Expected [(x, y), ...] in pixels.",
                code="prompt_missing",
            )
        if self.box is not None and not isinstance(self.box, Box):
            raise PromptError(
                f"the box of a points prompt is {self.box!r}.\n  Expected a Box, or None.",
                code="prompt_syntax",
            )
        object.__setattr__(self, "xy", pairs)
        object.__setattr__(self, "labels", _labels(self.labels, len(pairs)))

    def validate_for(self, size_wh: tuple[int, int], name: str = "image") -> None:
        """Check that all points (and the box) lie in an image.

        Args:
            size_wh: Width and height of the image.
            name: Of the image, for the message.

        Raises:
            PromptError: One of them does not.
        """
        width, height = size_wh
        for x, y in self.xy:
            if not (0 <= x < width and 0 <= y < height):
                raise PromptError(
                    f'point {_numbers((x, y))} lies outside the {width}x{height} image "{name}".\n'
                    f"  Points are pixel x,y with 0 <= x < {width} and 0 <= y < {height}. "
                    f"Normalised coordinates? multiply by {width} and {height}.",
                    code="point_outside_image",
                )
        if self.box is not None:
            self.box.validate_for(size_wh, name)


@dataclass(frozen=True, slots=True, eq=False)
class Mask:
    """A mask prompt: the region itself is known and wants its texts.

    Args:
        array: (H, W) of the image's size; anything but zero is inside. Kept read-only.

    Raises:
        PromptError: It is not two-dimensional, or empty.
    """

    array: npt.NDArray[np.bool_]
    type: ClassVar[str] = "mask"

    def __post_init__(self) -> None:
        """Check and freeze."""
        try:
            array = np.array(self.array) != 0
        except ValueError as error:
            raise PromptError(
                f"a mask is no array: {error}.\n  Expected rows of one length, (height, width).",
                code="mask_size",
            ) from error
        if array.ndim != 2:
            raise PromptError(
                f"a mask has shape {array.shape}.\n  Expected two dimensions, (height, width).",
                code="mask_size",
            )
        if not array.any():
            raise PromptError(
                f"the {array.shape[1]}x{array.shape[0]} mask is empty.\n"
                "  Expected at least one pixel that is not zero.",
                code="mask_empty",
            )
        array.setflags(write=False)
        object.__setattr__(self, "array", array)

    def __eq__(self, other: object) -> bool:
        """Masks with the same pixels are equal."""
        return isinstance(other, Mask) and np.array_equal(self.array, other.array)

    def __hash__(self) -> int:
        """Hash of the pixels."""
        return hash((self.array.shape, self.array.tobytes()))

    def validate_for(self, size_wh: tuple[int, int], name: str = "image") -> None:
        """Check that the mask has the image's size.

        Args:
            size_wh: Width and height of the image.
            name: Of the image, for the message.

        Raises:
            PromptError: It has another.
        """
        height, width = self.array.shape
        if (width, height) != tuple(size_wh):
            raise PromptError(
                f'the mask is {width}x{height} but the image "{name}" is '
                f"{size_wh[0]}x{size_wh[1]}.\n"
                "  Expected a mask of the image's size; resize it with nearest neighbour.",
                code="mask_size",
            )


Prompt = Box | Points | Mask


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One picture of a video or stream.

    Args:
        image: uint8 (H, W, 3).
        time_s: Seconds since the start.
        index: Number of the frame, from 0.
    """

    image: npt.NDArray[np.uint8]
    time_s: float
    index: int


def _labels(labels: Sequence[int] | None, num_points: int) -> tuple[int, ...]:
    if labels is None:
        return (1,) * num_points
    given = tuple(labels) if isinstance(labels, Iterable) else (labels,)
    scalar = all(np.ndim(label) == 0 for label in given)
    if len(given) != num_points or not scalar or not all(label in (0, 1) for label in given):
        raise PromptError(
            f"{num_points} points have labels {list(given)}.\n"
            "  Expected one label a point: 1 inside the region, 0 outside.",
            code="bad_label_count",
        )
    return tuple(int(label) for label in given)


def _finite(value: object, what: str) -> float:
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        raise PromptError(
            f"a {what} holds {value!r}, which is not a finite number.\n"
            "  Coordinates are pixels of the image, such as 120 or 87.5.",
            code="bad_number",
        )
    return number


def _numbers(values: Iterable[float]) -> str:
    return "(" + ", ".join(f"{value:g}" for value in values) + ")"
