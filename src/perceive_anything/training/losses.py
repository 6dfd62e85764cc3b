"""Losses of the segmentation stage, on low-resolution logits and soft targets.

Shape suffixes: R regions, M mask tokens, H W low-resolution grid. Source: SAM 2 (arXiv 2408.00714).
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from perceive_anything.modeling.segmenter import RegionFeatures

IOU_WEIGHT, CHOICE_WEIGHT = 2.0, 0.2
CHOICE_SCALE = 0.1  # masks whose IoUs differ by less are as good as each other


def pixel_loss(logits_RMHW: Tensor, target_RHW: Tensor) -> Tensor:
    """Mean cross entropy a mask, (R, M); targets may be soft.

    Plain, as the focal loss with its usual alpha of 0.25 weighs the outside more and so draws all
    logits down, while masks are cut at 0 (docs/log.md).
    """
    target = target_RHW[:, None].expand_as(logits_RMHW)
    cross_entropy = F.binary_cross_entropy_with_logits(logits_RMHW, target, reduction="none")
    return cross_entropy.mean((2, 3))


def dice_loss(logits_RMHW: Tensor, target_RHW: Tensor) -> Tensor:
    """1 - soft Dice a mask, (R, M)."""
    predicted, target = logits_RMHW.sigmoid(), target_RHW[:, None]
    overlap = (predicted * target).sum((2, 3))
    return 1 - (2 * overlap + 1) / (predicted.sum((2, 3)) + target.sum((2, 3)) + 1)


def mask_iou(logits_RMHW: Tensor, target_RHW: Tensor) -> Tensor:
    """IoU of thresholded masks, (R, M)."""
    predicted, target = logits_RMHW > 0, target_RHW[:, None] >= 0.5
    union = (predicted | target).sum((2, 3))
    return (predicted & target).sum((2, 3)) / union.clamp(min=1)


def choice_loss(predicted_RM: Tensor, iou_RM: Tensor) -> Tensor:
    """Cross entropy between two choices among a region's masks, by true and by predicted IoU."""
    wanted = (iou_RM / CHOICE_SCALE).softmax(1)
    return F.cross_entropy(predicted_RM / CHOICE_SCALE, wanted)


def segmentation_loss(regions: RegionFeatures, target_RHW: Tensor) -> dict[str, Tensor]:
    """Terms of the loss, each a scalar.

    Token 0 always answers, so it always learns; of tokens 1-3 only the best of each region does,
    which lets them take different readings of an ambiguous click.
    """
    terms = 2 * pixel_loss(regions.all_masks, target_RHW) + dice_loss(regions.all_masks, target_RHW)
    with torch.no_grad():
        iou = mask_iou(regions.all_masks, target_RHW)
    present = torch.ones_like(regions.object_logit)
    return {
        "mask": terms[:, 0].mean(),
        "multimask": terms[:, 1:].min(1).values.mean(),
        "iou": IOU_WEIGHT * F.mse_loss(regions.iou, iou),
        "choice": CHOICE_WEIGHT * choice_loss(regions.iou, iou),
        "object": F.binary_cross_entropy_with_logits(regions.object_logit, present),
    }
