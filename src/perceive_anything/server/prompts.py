"""Prompts as they come over the wire -> prompts in pixels, checked against their image.

Trusts nothing: sizes are compared before anything of that size is made.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from perceive_anything.errors import PromptError, RequestError
from perceive_anything.masks import decode_rle, polygons_to_mask, segmentation_to_rle
from perceive_anything.media import load_mask
from perceive_anything.server.pictures import from_data_uri, open_picture
from perceive_anything.server.settings import ServerSettings
from perceive_anything.server.wire import (
    BoxPrompt,
    MaskPrompt,
    PngPrompt,
    PointsPrompt,
    PolygonPrompt,
    WirePrompt,
)
from perceive_anything.types import TOLERANCE_PX, Box, Mask, Points, Prompt


def read_prompts(
    prompts: Sequence[WirePrompt], size_wh: tuple[int, int] | None, settings: ServerSettings
) -> tuple[Prompt, ...]:
    """Prompts that fit their image.

    Args:
        prompts: From a request.
        size_wh: Width and height of the image; None if no frame has come yet.
        settings: Limits.

    Raises:
        PromptError: One is malformed or does not fit.
        RequestError: There are too many, or one has too many points.
    """
    check_count(prompts, settings)
    made = tuple(_read(prompt, size_wh, settings) for prompt in prompts)
    if size_wh is not None:
        for prompt in made:
            prompt.validate_for(size_wh)
    return made


def check_count(prompts: Sequence[WirePrompt], settings: ServerSettings) -> None:
    """See that there are not too many prompts, nor points in one.

    Raises:
        RequestError: There are.
    """
    if len(prompts) > settings.max_prompts:
        raise RequestError(
            f"{len(prompts)} prompts were given.\n"
            f"  At most {settings.max_prompts} at once are answered here; send them in parts.",
            code="limit_exceeded",
        )
    most = max(map(_num_points, prompts), default=0)
    if most > settings.max_points:
        raise RequestError(
            f"a prompt has {most} points.\n  At most {settings.max_points} are read here.",
            code="limit_exceeded",
        )


def bytes_of_masks(
    prompts: Sequence[WirePrompt], size_wh: tuple[int, int], settings: ServerSettings
) -> int:
    """What prompts that are masks will take: a few signs may unfold to a byte for each pixel.

    Raises:
        RequestError: As `check_count`.
    """
    check_count(prompts, settings)
    masks = sum(not isinstance(prompt, (BoxPrompt, PointsPrompt)) for prompt in prompts)
    return masks * math.prod(size_wh)


def _num_points(prompt: WirePrompt) -> int:
    if isinstance(prompt, PointsPrompt):
        return len(prompt.points)
    if isinstance(prompt, PolygonPrompt):
        return sum(len(polygon) // 2 for polygon in prompt.polygons)
    return 0


def _read(prompt: WirePrompt, size_wh: tuple[int, int] | None, settings: ServerSettings) -> Prompt:
    if isinstance(prompt, BoxPrompt):
        return Box(*prompt.box_xyxy)
    if isinstance(prompt, PointsPrompt):
        around = None if prompt.box_xyxy is None else Box(*prompt.box_xyxy)
        pairs = [(x, y) for x, y in prompt.points]
        return Points(pairs, labels=prompt.labels, box=around)
    if size_wh is None:
        raise PromptError(
            "a mask was given before the first frame.\n"
            "  Send a frame first, or point with a box or points.",
            code="mask_size",
        )
    if isinstance(prompt, MaskPrompt):
        return Mask(_from_rle(prompt, size_wh))
    if isinstance(prompt, PngPrompt):
        return Mask(_from_png(prompt, size_wh, settings))
    return Mask(_from_polygons(prompt, size_wh))


def _from_rle(prompt: MaskPrompt, size_wh: tuple[int, int]) -> np.ndarray:
    _check_size(tuple(prompt.mask.size_hw[::-1]), size_wh)
    try:
        rle = segmentation_to_rle(prompt.mask.model_dump(by_alias=True), size_wh[::-1])
    except (ValueError, OverflowError, TypeError) as error:
        raise PromptError(
            f"the run lengths of a mask cannot be read: {error}.\n"
            "  Expected COCO RLE: size [height, width] and counts, as pycocotools writes them.",
            code="prompt_syntax",
        ) from error
    return decode_rle(rle)


def _from_png(prompt: PngPrompt, size_wh: tuple[int, int], settings: ServerSettings) -> np.ndarray:
    data = from_data_uri(prompt.png, "image")
    with open_picture(data, settings) as picture:
        if picture.format != "PNG":
            raise PromptError(
                f"a mask is a {picture.format}.\n  Expected a PNG, which keeps every pixel.",
                code="prompt_syntax",
            )
        _check_size(picture.size, size_wh)
    return load_mask(data)


def _from_polygons(prompt: PolygonPrompt, size_wh: tuple[int, int]) -> np.ndarray:
    width, height = size_wh
    for polygon in prompt.polygons:
        numbers = np.array(polygon, dtype=float)
        low, high = -TOLERANCE_PX, np.array([width, height]) + TOLERANCE_PX
        if len(numbers) % 2:
            raise PromptError(
                f"a polygon has {len(numbers)} numbers.\n  Expected x and y of each corner.",
                code="prompt_syntax",
            )
        if not np.isfinite(numbers).all():
            raise PromptError(
                "a polygon holds what is no finite number.\n  Expected pixels of the image.",
                code="bad_number",
            )
        corners = numbers.reshape(-1, 2)
        if (corners < low).any() or (corners > high).any():
            raise PromptError(
                f"a polygon lies outside the {width}x{height} image.\n"
                f"  Corners are pixel x,y with x <= {width} and y <= {height}.",
                code="point_outside_image",
            )
    return polygons_to_mask(prompt.polygons, (height, width))


def _check_size(found_wh: tuple[int, ...], size_wh: tuple[int, int]) -> None:
    if found_wh != size_wh:
        raise PromptError(
            f"a mask is {'x'.join(map(str, found_wh))[:60]} but the image is "
            f"{size_wh[0]}x{size_wh[1]}.\n"
            "  Expected a mask of the image's size; resize it with nearest neighbour.",
            code="mask_size",
        )
