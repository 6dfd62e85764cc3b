"""A small convolutional network that sharpens the masks of SAM 2's decoder.

Knows maps of regions; no prompts, no pixels. Between two looks at a mask SAM 2's decoder mixes
neighbouring cells by attention at stride 16 alone, which takes millions of pictures to learn; what
convolutions see at strides 4, 8 and 16 makes up for it in a model that has seen few.
Shape suffixes: R regions, C channels, H W rows and columns at stride 4, M masks.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

LOGIT_SCALE = 5.0
HIDDEN = 64


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions beside the identity, of which they begin as a copy."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x_RCHW: Tensor) -> Tensor:
        """The same shape."""
        return x_RCHW + self.second(F.relu(self.first(F.relu(x_RCHW))))


class MaskRefiner(nn.Module):
    """Masks and the maps that they were drawn from -> better masks and what they are worth.

    A U-Net over strides 4, 8 and 16; it begins by changing nothing (`start`).

    Args:
        channels: At strides 4, 8 and 16.
        width: SAM 2's.
        num_masks: Masks of a region.
    """

    def __init__(self, channels: tuple[int, int, int], width: int, num_masks: int) -> None:
        super().__init__()
        fine, middle, coarse = channels
        self.enter = nn.Conv2d(num_masks + 1 + width // 4, fine, 3, padding=1)
        self.enter_middle = nn.Conv2d(width // 4, middle, 1)
        self.enter_coarse = nn.Conv2d(width, coarse, 1)
        self.norms = nn.ModuleList(nn.GroupNorm(8, n) for n in channels)
        self.down = nn.ModuleList([_halve(fine, middle), _halve(middle, coarse)])
        self.up = nn.ModuleList([_double(middle, fine), _double(coarse, middle)])
        self.encode = ResidualBlock(middle)
        self.bottom = nn.Sequential(ResidualBlock(coarse), ResidualBlock(coarse))
        self.decode = nn.ModuleList([ResidualBlock(fine), ResidualBlock(middle)])
        self.leave = nn.Conv2d(fine, num_masks, 3, padding=1)
        self.worth = nn.Sequential(
            nn.Linear(fine + coarse + 2, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, 1)
        )
        self.start()

    @torch.no_grad()
    def start(self) -> None:
        """Let the masks and their worth stay what the decoder says."""
        blocks = [module for module in self.modules() if isinstance(module, ResidualBlock)]
        for last in (self.leave, self.worth[2], *(block.second for block in blocks)):
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)

    def forward(
        self,
        masks_RMHW: Tensor,
        iou_RM: Tensor,
        canvas_R1HW: Tensor,
        upscaled_RCHW: Tensor,
        high_res: tuple[Tensor, Tensor],
        embedding: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Refined logits and predicted IoUs.

        Args:
            masks_RMHW: Logits of the decoder.
            iou_RM: Their predicted IoUs.
            canvas_R1HW: The prompt as a map, see `segmenter.render_prompts`.
            upscaled_RCHW: What the decoder's masks were read from, width / 8 channels.
            high_res: The picture at strides 4 and 8, width / 8 and width / 4 channels.
            embedding: (R, width, H / 4, W / 4), after the decoder's transformer.
        """
        drawn = (masks_RMHW / LOGIT_SCALE).clamp(-2, 2)
        seen = torch.cat([drawn, canvas_R1HW, upscaled_RCHW, high_res[0]], 1)
        fine = self.norms[0](self.enter(seen.contiguous(memory_format=torch.channels_last)))
        middle = self.down[0](fine) + self.enter_middle(high_res[1])
        middle = self.encode(self.norms[1](middle))
        coarse = self.down[1](middle) + self.enter_coarse(embedding)
        coarse = self.bottom(self.norms[2](coarse))
        middle = self.decode[1](middle + self.up[1](coarse))
        fine = F.relu(self.decode[0](fine + self.up[0](middle)))
        masks = masks_RMHW + self.leave(fine)
        return masks, iou_RM + self._worth(masks.float(), iou_RM, fine, coarse)

    def _worth(self, masks_RMHW: Tensor, iou_RM: Tensor, fine: Tensor, coarse: Tensor) -> Tensor:
        """What each IoU lacks, judged by what is inside the mask and by its soft edge."""
        inside = masks_RMHW.sigmoid().flatten(2)
        area = inside.sum(2, keepdim=True) + 1
        seen_RMC = (inside / area).to(fine.dtype) @ fine.flatten(2).transpose(1, 2)
        softness = (inside * (1 - inside)).sum(2, keepdim=True) / area
        around = coarse.mean((2, 3))[:, None].expand(-1, iou_RM.shape[1], -1)
        told = [seen_RMC, around, iou_RM[..., None], softness]
        return self.worth(torch.cat([part.to(fine.dtype) for part in told], 2))[..., 0]


def _halve(inputs: int, outputs: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 2, stride=2)


def _double(inputs: int, outputs: int) -> nn.ConvTranspose2d:
    return nn.ConvTranspose2d(inputs, outputs, 2, stride=2)
