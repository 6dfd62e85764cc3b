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


class SemanticPerceiver(nn.Module):
    """Two-way attention between mask + semantic tokens and the region's image embedding."""

    def __init__(self, config: PamPerceiverConfig) -> None:
        super().__init__()
        self.config = config
        width = config.hidden_size
        self.semantic_tokens = nn.Embedding(config.num_semantic_tokens, width)
        self.positional_embedding = nn.Buffer(torch.randn(2, width // 2))
        self.transformer = Sam2VideoTwoWayTransformer(config)
        self.proj = nn.Linear(config.frame_shuffle**2 * width, config.image_shuffle**2 * width)

    def position_code(self, side: int) -> Tensor:
        """Random Fourier code (C, side, side) of the cell centres, by a matrix of its own."""
        centres = (torch.arange(side, device=self.positional_embedding.device) + 0.5) / side
        y, x = torch.meshgrid(centres, centres, indexing="ij")
        angles = (2 * torch.stack([x, y], -1) - 1) @ self.positional_embedding.float()
        angles = 2 * torch.pi * angles
        code = torch.cat([angles.sin(), angles.cos()], -1).permute(2, 0, 1)
        return code.to(self.semantic_tokens.weight.dtype)

    def forward(
        self, embedding_RCHW: Tensor, mask_tokens_RQC: Tensor, *, dense: bool = True
    ) -> tuple[Tensor, Tensor]:
        """Tapped tensors of R regions -> semantic tokens and image tokens.

        Args:
            embedding_RCHW: Image embedding after SAM 2's mask decoder transformer.
            mask_tokens_RQC: The two mask tokens after the same transformer.
            dense: The fine shuffle (images, first frame of a clip) or the coarse one.

        Returns:
            Semantic tokens (R, num_semantic_tokens, C) and image tokens
            (R, T, image_shuffle^2 * C).
        """
        num_regions, _, side, _ = embedding_RCHW.shape
        semantic = self.semantic_tokens.weight.expand(num_regions, -1, -1)
        queries_RQC, keys_R1KC = self.transformer(
            point_embeddings=torch.cat([mask_tokens_RQC, semantic], 1).unsqueeze(1),
            image_embeddings=embedding_RCHW,
            image_positional_embeddings=self.position_code(side).expand(num_regions, -1, -1, -1),
            attention_similarity=None,
        )
        semantic_RQC = queries_RQC[:, 0, mask_tokens_RQC.shape[1] :]
        cells_RKC = keys_R1KC[:, 0]
        if dense:
            return semantic_RQC, pixel_shuffle_tokens(cells_RKC, self.config.image_shuffle)
        return semantic_RQC, self.proj(pixel_shuffle_tokens(cells_RKC, self.config.frame_shuffle))
