"""Close-ups: regions cut out of the model's input and enlarged, for the trunk alone.

SAM 2's taps tell where a region is and little of what it is; an ImageNet trunk tells what fills its
input. Knows tensors in the square input frame; no prompts of users, no text.
Shape suffixes: B images, R regions, S side of the input, H W grid of a mask, C channels.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

CONTEXT = 1.25  # side of a close-up, in longest sides of the region
AT_ONCE = 4  # a close-up takes the trunk more memory than all else of its region


def cut_close_ups(
    pixels_BCSS: Tensor, image_index_R: Tensor, box_R4: Tensor, close_up_size: int
) -> Tensor:
    """A square around each region.

    Args:
        pixels_BCSS: Normalised images.
        image_index_R: Image of each region.
        box_R4: x1, y1, x2, y2 in their pixels.
        close_up_size: Side of a close-up in pixels.

    Returns:
        (R, C, close_up_size, close_up_size); zeros, the mean colour, beyond the image.
    """
    side = pixels_BCSS.shape[-1]
    first, last = box_R4[:, :2].float(), box_R4[:, 2:].float()
    scale = CONTEXT * (last - first).amax(1).clamp(min=1) / side
    centre = (first + last) / side - 1
    theta = torch.cat([torch.diag_embed(scale[:, None].expand(-1, 2)), centre[..., None]], 2)
    grid = F.affine_grid(theta, [len(box_R4), 1, close_up_size, close_up_size], align_corners=False)
    cut = F.grid_sample(pixels_BCSS[image_index_R].float(), grid, align_corners=False)
    return cut.to(pixels_BCSS.dtype)


def mask_boxes(logits_RHW: Tensor, side: int) -> Tensor:
    """Boxes (R, 4) of masks in pixels of an input of that side; the whole of it for empty ones."""
    mask, cell = logits_RHW > 0, side / logits_RHW.shape[-1]
    edges = []
    for inside in (mask.any(1), mask.any(2)):
        place = torch.arange(inside.shape[1], device=mask.device).expand_as(inside)
        edges.append(place.masked_fill(~inside, inside.shape[1]).amin(1))
        edges.append(place.masked_fill(~inside, -1).amax(1) + 1)
    x1, x2, y1, y2 = edges
    boxes = torch.stack([x1, y1, x2, y2], 1) * cell
    whole = boxes.new_tensor([0, 0, side, side])
    return torch.where(mask.flatten(1).any(1, keepdim=True), boxes, whole)


def masked_mean(maps_RCHW: Tensor, mask_RHW: Tensor) -> Tensor:
    """Mean of each map under a soft mask of another size, (R, C); of all of it for empty ones."""
    weight = F.adaptive_avg_pool2d(mask_RHW[:, None], maps_RCHW.shape[-2:]) + 1e-4
    return (maps_RCHW * weight).sum((2, 3)) / weight.sum((2, 3))


def look(trunk: nn.Module, close_ups_RCHW: Tensor) -> Tensor:
    """(R, C) mean of the trunk's last map where the region itself is, some regions at a time."""
    return torch.cat([_look(trunk, part) for part in close_ups_RCHW.split(AT_ONCE)])


def _look(trunk: nn.Module, close_ups_RCHW: Tensor) -> Tensor:
    map_RHWC = trunk(close_ups_RCHW).last_hidden_state
    size = map_RHWC.shape[1]
    margin = round(size * (1 - 1 / CONTEXT) / 2)
    inner = map_RHWC[:, margin : size - margin, margin : size - margin]
    return inner.mean((1, 2))
