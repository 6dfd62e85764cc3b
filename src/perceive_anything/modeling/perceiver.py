"""Semantic perceiver: SAM 2's tapped tensors of one region -> semantic tokens and image tokens.

Knows nothing of text, prompts or images on disk.
Shape suffixes: R regions, Q query tokens, K image cells (h*w, row-major), T image tokens, C width.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from transformers.models.sam2_video.modeling_sam2_video import Sam2VideoTwoWayTransformer

from perceive_anything.modeling.configuration import PamPerceiverConfig
from perceive_anything.modeling.segmenter import SeenRegions


def pixel_shuffle_tokens(cells_RKC: Tensor, shuffle: int) -> Tensor:
    """Fold local shuffle x shuffle patches into channels.

    Tokens come in column-major order, their channels ordered dy, dx, c, as the released code has
    them (arXiv 2506.05302).

    Args:
        cells_RKC: (R, h * h, C) cells of a square grid, row-major.
        shuffle: Side of a patch; divides h.

    Returns:
        (R, (h / shuffle)^2, shuffle^2 * C).
    """
    num_regions, num_cells, width = cells_RKC.shape
    side = math.isqrt(num_cells)
    patches = side // shuffle
    grid = cells_RKC.reshape(num_regions, patches, shuffle, patches, shuffle, width)
    return grid.permute(0, 3, 1, 2, 4, 5).reshape(num_regions, patches**2, shuffle**2 * width)


class RegionMeans(nn.Module):
    """What two means tell of the region as a whole, for each semantic token to be added.

    Args:
        width: Of a token.
        close_up_width: Of what the trunk sees in a close-up.
        num_tokens: Semantic tokens.
    """

    def __init__(self, width: int, close_up_width: int, num_tokens: int) -> None:
        super().__init__()
        self.inside_norm, self.close_norm = nn.LayerNorm(width), nn.LayerNorm(close_up_width)
        self.proj = nn.Linear(width + close_up_width, num_tokens * width)

    def forward(self, seen: SeenRegions) -> Tensor:
        """(R, num_tokens, C)."""
        means = torch.cat([self.inside_norm(seen.inside), self.close_norm(seen.close)], 1)
        return self.proj(means).unflatten(1, (-1, seen.inside.shape[1]))


class SemanticPerceiver(nn.Module):
    """Two-way attention between mask + semantic tokens and the region's image embedding.

    Args:
        config: Sizes.
        close_up_width: Of what the trunk sees in a close-up of the region, see `RegionMeans`; 0
            where there are no close-ups.
    """

    def __init__(self, config: PamPerceiverConfig, close_up_width: int = 0) -> None:
        super().__init__()
        self.config = config
        width = config.hidden_size
        self.semantic_tokens = nn.Embedding(config.num_semantic_tokens, width)
        self.positional_embedding = nn.Buffer(torch.randn(2, width // 2))
        self.transformer = Sam2VideoTwoWayTransformer(config)
        self.proj = nn.Linear(config.frame_shuffle**2 * width, config.image_shuffle**2 * width)
        self.region_means: RegionMeans | None = None
        if close_up_width:
            self.region_means = RegionMeans(width, close_up_width, config.num_semantic_tokens)

    def position_code(self, side: int) -> Tensor:
        """Random Fourier code (C, side, side) of the cell centres, by a matrix of its own."""
        centres = (torch.arange(side, device=self.positional_embedding.device) + 0.5) / side
        y, x = torch.meshgrid(centres, centres, indexing="ij")
        angles = (2 * torch.stack([x, y], -1) - 1) @ self.positional_embedding.float()
        angles = 2 * torch.pi * angles
        code = torch.cat([angles.sin(), angles.cos()], -1).permute(2, 0, 1)
        return code.to(self.semantic_tokens.weight.dtype)

    def forward(self, seen: SeenRegions, *, dense: bool = True) -> tuple[Tensor, Tensor]:
        """What is seen of R regions -> semantic tokens and image tokens.

        Args:
            seen: Of the regions.
            dense: The fine shuffle (images, first frame of a clip) or the coarse one.

        Returns:
            Semantic tokens (R, num_semantic_tokens, C) and image tokens
            (R, T, image_shuffle^2 * C).
        """
        num_regions, _, side, _ = seen.embedding.shape
        semantic = self.semantic_tokens.weight.expand(num_regions, -1, -1)
        queries_RQC, keys_R1KC = self.transformer(
            point_embeddings=torch.cat([seen.mask_tokens, semantic], 1).unsqueeze(1),
            image_embeddings=seen.embedding,
            image_positional_embeddings=self.position_code(side).expand(num_regions, -1, -1, -1),
            attention_similarity=None,
        )
        semantic_RQC = queries_RQC[:, 0, seen.mask_tokens.shape[1] :]
        if self.region_means is not None:
            semantic_RQC = semantic_RQC + self.region_means(seen)
        cells_RKC = keys_R1KC[:, 0]
        if dense:
            return semantic_RQC, pixel_shuffle_tokens(cells_RKC, self.config.image_shuffle)
        return semantic_RQC, self.proj(pixel_shuffle_tokens(cells_RKC, self.config.frame_shuffle))
