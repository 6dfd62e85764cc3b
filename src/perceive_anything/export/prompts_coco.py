"""COCO instances -> prompts: the mask of each annotation, or its box where there is no mask."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from perceive_anything.masks import decode_rle, segmentation_to_rle
from perceive_anything.types import Box, Mask, Prompt


def coco_prompts(value: Mapping[str, Any]) -> dict[str, list[Prompt]]:
    """Prompts by "file_name".

    Args:
        value: A COCO data set of instances; empty masks are left out.

    Raises:
        KeyError: Something is missing.
        ValueError: A mask is damaged, or of another size than its image.
        PromptError: A box is inverted.
    """
    images = {image["id"]: image for image in value["images"]}
    table: dict[str, list[Prompt]] = {image["file_name"]: [] for image in images.values()}
    for annotation in value["annotations"]:
        image = images[annotation["image_id"]]
        prompt = _prompt(annotation, (image["height"], image["width"]))
        if prompt is not None:
            table[image["file_name"]].append(prompt)
    return table


def _prompt(annotation: Mapping[str, Any], shape_hw: tuple[int, int]) -> Prompt | None:
    if annotation.get("segmentation"):
        mask = decode_rle(segmentation_to_rle(annotation["segmentation"], shape_hw))
        return Mask(mask) if mask.any() else None
    x, y, width, height = annotation["bbox"]
    return Box(x, y, x + width, y + height)
