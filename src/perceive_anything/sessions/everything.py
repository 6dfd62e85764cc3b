"""Everything mode: a grid of points -> masks -> those that are good, whole and not twice the same.

Knows the decoder's logits on its low-resolution grid; texts are the image session's. Names of the
settings are those of SAM 2's automatic mask generator (arXiv 2408.00714).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from perceive_anything.errors import OptionError
from perceive_anything.masks import BoolMask, largest_part, mask_to_box_xyxy, without_small_parts
from perceive_anything.modeling.processing import restore_masks
from perceive_anything.modeling.segmenter import RegionFeatures, stability_score
from perceive_anything.tasks import unknown
from perceive_anything.types import Box, Points, Prompt

CLICK_SHARE, MIN_CELLS = 0.6, 8
GROWTH, LEAST_SAME = 0.15, 0.9


@dataclass(frozen=True, slots=True)
class MaskGeneration:
    """How masks are found and chosen; the defaults suit SAM 2.1.

    Args:
        points_per_side: Points of the grid along each side.
        points_per_batch: Prompts that go through the mask decoder at once.
        pred_iou_thresh: Least score, 0..1; 0.6 of it for what is refined.
        stability_score_thresh: Least IoU of the masks at thresholds a little above and below 0.
        stability_score_offset: How far these lie from 0, in logits.
        mask_nms_thresh: Of two masks with more IoU than this the one of lower score goes.
        min_mask_region_area: Holes and islands of fewer pixels of the image are filled or removed.
        multimask_output: Take the three masks of each point that SAM 2 has for parts and wholes;
            else the one that answers a click.
        box_refinement: Ask again with the box of each mask that the points gave.
        side_fill_thresh: With `box_refinement`: a mask that fills more of a side of its box goes,
            as the box cuts a larger thing off, unless it stays the same in a larger box.

    Raises:
        OptionError: A value is out of range.
    """

    points_per_side: int = 16
    points_per_batch: int = 64
    pred_iou_thresh: float = 0.8
    stability_score_thresh: float = 0.95
    stability_score_offset: float = 1.0
    mask_nms_thresh: float = 0.7
    min_mask_region_area: int = 0
    multimask_output: bool = True
    box_refinement: bool = False
    side_fill_thresh: float = 1.0

    @classmethod
    def of(cls, model: Mapping[str, Any] | None, changes: Mapping[str, Any]) -> MaskGeneration:
        """What suits a model, with a user's changes.

        Args:
            model: `PamConfig.mask_generation`.
            changes: By name.

        Raises:
            OptionError: There is no such setting, or a value is out of range.
        """
        names = [field.name for field in fields(cls)]
        for name in changes:
            if name not in names:
                raise OptionError(unknown("setting", name, names), code="unknown_option")
        return cls(**{**(model or {}), **changes})

    def __post_init__(self) -> None:
        """Check the ranges."""
        for field in fields(self):
            value, share = getattr(self, field.name), field.name.endswith("thresh")
            least = 1 if field.name.startswith("points") else 0
            if value < least or (share and value > 1):
                raise OptionError(
                    f"{field.name} is {value}.\n"
                    f"  Expected {'0 to 1' if share else f'{least} or more'}.",
                    code="unknown_option",
                )


@dataclass(frozen=True, slots=True)
class Found:
    """One mask that was found."""

    mask: BoolMask
    score: float


def check_max_regions(max_regions: int) -> None:
    """See that at least one region is wanted.

    Raises:
        OptionError: It is not.
    """
    if max_regions < 1:
        raise OptionError(
            f"max_regions is {max_regions}.\n  Expected 1 or more.", code="unknown_option"
        )


@torch.inference_mode()
def find_masks(
    decode: Callable[[Sequence[Prompt]], RegionFeatures],
    size_wh: tuple[int, int],
    settings: MaskGeneration,
    most: int | None = None,
) -> list[Found]:
    """Masks of whatever is in a picture, the largest first.

    Args:
        decode: Prompts -> what the mask decoder says.
        size_wh: Width and height of the picture in pixels.
        settings: What counts.
        most: Keep only the largest ones.
    """
    points = [Points([xy]) for xy in point_grid(size_wh, settings.points_per_side)]
    logits, scores, _ = _in_batches(decode, points, settings)
    logits, scores = _distinct(logits, scores, settings)
    if settings.box_refinement:
        logits, scores = _refined(decode, logits, size_wh, settings)
    areas = (logits > 0).flatten(1).sum(1)
    kept = areas.argsort(descending=True, stable=True)[:most]
    if not len(kept):
        return []
    masks = restore_masks(logits[kept], size_wh)
    found = zip(masks, scores[kept].tolist(), strict=True)
    cleaned = (
        (without_small_parts(mask, settings.min_mask_region_area), score) for mask, score in found
    )
    return [Found(mask, round(min(1.0, score), 4)) for mask, score in cleaned if mask.any()]


def _in_batches(
    decode: Callable[[Sequence[Prompt]], RegionFeatures],
    prompts: Sequence[Prompt],
    settings: MaskGeneration,
) -> tuple[Tensor, Tensor, Tensor]:
    """`good_masks` of many prompts."""
    size = settings.points_per_batch
    parts = [(torch.zeros(0, 1, 1), torch.zeros(0), torch.zeros(0, dtype=torch.long))]
    for start in range(0, len(prompts), size):
        logits, scores, rows = good_masks(decode(prompts[start : start + size]), settings)
        parts.append((logits, scores, rows + start))
    parts = parts[1:] or parts
    logits, scores, rows = (torch.cat(values) for values in zip(*parts, strict=True))
    return logits, scores, rows


def _distinct(logits: Tensor, scores: Tensor, settings: MaskGeneration) -> tuple[Tensor, Tensor]:
    kept = distinct(logits > 0, scores, settings.mask_nms_thresh)
    return logits[kept], scores[kept]


def _refined(
    decode: Callable[[Sequence[Prompt]], RegionFeatures],
    logits: Tensor,
    size_wh: tuple[int, int],
    settings: MaskGeneration,
) -> tuple[Tensor, Tensor]:
    """Logits and scores of what the boxes of masks give."""
    found = [box_of(mask, size_wh) for mask in logits > 0]
    boxes = [box for box in found if box is not None]
    single = replace(settings, multimask_output=False, box_refinement=False)
    logits, scores, rows = _in_batches(decode, boxes, single)
    asked = [boxes[row] for row in rows.tolist()]
    whole = ~cut_off(decode, logits > 0, asked, size_wh, settings)
    return _distinct(logits[whole], scores[whole], settings)


def cut_off(
    decode: Callable[[Sequence[Prompt]], RegionFeatures],
    masks: Tensor,
    boxes: Sequence[Box],
    size_wh: tuple[int, int],
    settings: MaskGeneration,
) -> Tensor:
    """Whether each mask (N, h, h) ends only where its box ends; (N,) bool.

    Args:
        decode: As in `find_masks`.
        masks: What the boxes gave, bool.
        boxes: The box of each mask.
        size_wh: Width and height of the picture in pixels.
        settings: `side_fill_thresh` counts.
    """
    cut = torch.zeros(len(boxes), dtype=torch.bool, device=masks.device)
    suspects = [
        row
        for row, box in enumerate(boxes)
        if filled_side(masks[row], box, size_wh) > settings.side_fill_thresh
    ]
    for start in range(0, len(suspects), settings.points_per_batch):
        rows = suspects[start : start + settings.points_per_batch]
        larger = decode([_grown(boxes[row], size_wh) for row in rows]).all_masks[:, 0] > 0
        both, either = (masks[rows] & larger), (masks[rows] | larger)
        cut[rows] = both.flatten(1).sum(1) < LEAST_SAME * either.flatten(1).sum(1)
    return cut


def filled_side(mask: Tensor, box_xyxy: Box, size_wh: tuple[int, int]) -> float:
    """Largest share of a side of a box that a mask fills; the picture's own sides do not count.

    Args:
        mask: (h, h) bool, the square frame of the model.
        box_xyxy: In pixels of the picture.
        size_wh: Width and height of the picture in pixels.
    """
    side = len(mask)
    across, down = side / size_wh[0], side / size_wh[1]
    x1, x2 = round(box_xyxy.x1 * across), round(box_xyxy.x2 * across)
    y1, y2 = round(box_xyxy.y1 * down), round(box_xyxy.y2 * down)
    sides = (
        (x1 > 1, mask[y1:y2, x1 : x1 + 1]),
        (x2 < side - 1, mask[y1:y2, x2 - 1 : x2]),
        (y1 > 1, mask[y1 : y1 + 1, x1:x2]),
        (y2 < side - 1, mask[y2 - 1 : y2, x1:x2]),
    )
    shares = [float(line.float().mean()) for inside, line in sides if inside and line.numel()]
    return max(shares, default=0.0)


def _grown(box: Box, size_wh: tuple[int, int]) -> Box:
    across, down = GROWTH * (box.x2 - box.x1), GROWTH * (box.y2 - box.y1)
    return Box(
        max(0.0, box.x1 - across),
        max(0.0, box.y1 - down),
        min(float(size_wh[0]), box.x2 + across),
        min(float(size_wh[1]), box.y2 + down),
    )


def box_of(mask: Tensor, size_wh: tuple[int, int]) -> Box | None:
    """The box of a mask's largest connected part in pixels of the picture; None if it is tiny.

    Args:
        mask: (h, h) bool, the square frame of the model.
        size_wh: Width and height of the picture in pixels.
    """
    side = len(mask)
    largest = largest_part(mask.cpu().numpy())
    corners = mask_to_box_xyxy(largest)
    if corners is None or largest.sum() < MIN_CELLS:
        return None
    x1, y1, x2, y2 = corners
    across, down = size_wh[0] / side, size_wh[1] / side
    return Box(x1 * across, y1 * down, x2 * across, y2 * down)


def point_grid(size_wh: tuple[int, int], side: int) -> list[tuple[float, float]]:
    """`side` x `side` points, in the middle of as many tiles of the picture, row by row."""
    steps = (np.arange(side) + 0.5) / side
    return [(float(x * size_wh[0]), float(y * size_wh[1])) for y in steps for x in steps]


def good_masks(regions: RegionFeatures, settings: MaskGeneration) -> tuple[Tensor, Tensor, Tensor]:
    """Logits (N, h, h), scores (N,) and prompts (N,) of the masks that pass the thresholds."""
    first, last = (1, None) if settings.multimask_output else (0, 1)
    logits = regions.all_masks[:, first:last].flatten(0, 1).float()
    scores = regions.iou[:, first:last].flatten().float()
    stability = stability_score(logits, settings.stability_score_offset)
    share = CLICK_SHARE if settings.box_refinement else 1.0
    good = scores >= share * settings.pred_iou_thresh
    good &= stability >= share * settings.stability_score_thresh
    good &= (logits > 0).flatten(1).any(1)
    prompts = good.nonzero()[:, 0] // regions.all_masks[:, first:last].shape[1]
    return logits[good], scores[good], prompts


def distinct(masks: Tensor, scores: Tensor, most_iou: float) -> Tensor:
    """Rows of masks that are not nearly the same as one of higher score (greedy NMS by mask IoU).

    Args:
        masks: (N, h, h) bool.
        scores: (N,).
        most_iou: Largest IoU that two of them may have.
    """
    order = scores.argsort(descending=True, stable=True)
    flat = masks[order].flatten(1).float()
    overlap, area = flat @ flat.T, flat.sum(1)
    same = overlap / (area[:, None] + area - overlap).clamp(min=1) > most_iou
    keep = torch.ones(len(order), dtype=torch.bool, device=masks.device)
    for row in range(len(order)):
        if keep[row]:
            keep[row + 1 :] &= ~same[row, row + 1 :]
    return order[keep]
