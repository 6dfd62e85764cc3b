"""Tapped tensors of regions on disk: each region goes through the finished SAM 2 once.

Knows encoded pictures, simulated prompts and the frozen SAM 2; no text.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from itertools import groupby
from pathlib import Path

import torch

from perceive_anything.modeling import PamForConditionalGeneration
from perceive_anything.modeling.segmenter import ImageFeatures, SeenRegions
from perceive_anything.training.arrays import ArrayCache, digest
from perceive_anything.training.prompts import (
    SimulatedPrompt,
    box_prompt,
    click_prompt,
    mask_prompt,
    stack_prompts,
)
from perceive_anything.training.regions import TrainingRegion

PICTURES = 8


class TappedCache(ArrayCache):
    """What the perceiver reads of each region, for one prompt of it.

    Args:
        folder: Made if missing.
        regions: The regions, those of a record next to each other; row i belongs to region i.
        model: Its SAM 2 part, no longer trained.
        encode: Gives what SAM 2 keeps of the pictures in some rows.
        pictures: Stands for the pictures and their order.
        seed: Seed of the prompts.
    """

    def __init__(
        self,
        folder: Path,
        regions: Sequence[TrainingRegion],
        model: PamForConditionalGeneration,
        encode: Callable[[Sequence[int]], ImageFeatures],
        pictures: str,
        seed: int,
    ) -> None:
        self.regions, self.model, self.encode, self.seed = regions, model, encode, seed
        width, cells = model.config.perceiver_config.hidden_size, model.sam.image_size // 16
        shapes = {"embedding": (width, cells, cells), "mask_tokens": (2, width)}
        if model.config.close_up_size:
            shapes |= {"inside": (width,), "close": (model.config.close_up_width,)}
        weights = [float(p.detach().double().abs().sum()) for p in model.sam.parameters()]
        places = [f"{r.row} {r.region.id}" for r in regions]
        key = digest([pictures, seed, *weights, *places, model.config.close_up_size])
        super().__init__(folder, shapes, len(regions), key)

    @torch.no_grad()
    def build(self, report: Callable[[str], None] = print) -> None:
        """Prompt every region that is missing."""
        rest = range(self.num_done, self.num_rows)
        pictures = [list(g) for _, g in groupby(rest, key=lambda i: self.regions[i].row)]
        for start in range(0, len(pictures), PICTURES):
            group = pictures[start : start + PICTURES]
            index = [i for i, rows in enumerate(group) for _ in rows]
            prompts = [self._prompt(row) for rows in group for row in rows]
            pictured = [self.regions[rows[0]].row for rows in group]
            features = self.encode(pictured)
            tensors = stack_prompts(prompts, index, self.model.sam.image_size)
            regions = self.model.segment(features, tensors.to(self.model.device))
            seen = self.model.see(regions)
            tensors = (seen.embedding, seen.mask_tokens, seen.inside, seen.close)
            self.append([tensor for tensor in tensors if tensor is not None])
            if start % (50 * PICTURES) == 0:
                report(f"tapped tensors: {self.num_done}/{self.num_rows}")

    def _prompt(self, row: int) -> SimulatedPrompt:
        """A box for 45 %, the mask for 35 %, clicks for the rest."""
        rng, region = random.Random(f"{self.seed}/{row}"), self.regions[row]
        kind = rng.random()
        if region.mask is None or kind < 0.45:
            return box_prompt(region.box_xyxy, rng, jitter=rng.choice((0.0, 0.1)))
        if kind < 0.8:
            return mask_prompt(region.soft_mask())
        return click_prompt(region.soft_mask(), 4, rng, rng.choice((1, 1, 3)))

    def seen_at(self, rows: Sequence[int]) -> SeenRegions:
        """What is read of the given rows."""
        return SeenRegions(*self.read(rows))
