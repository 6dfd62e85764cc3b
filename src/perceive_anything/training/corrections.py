"""Click simulation over several rounds: look at the mask so far, click where it is most wrong.

Knows prompts, targets and a way to ask for masks; learns nothing itself. Shape suffixes: R regions,
H W cells of the target. Source: Segment Anything (arXiv 2304.02643), appendix A.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from perceive_anything.modeling.segmenter import PADDING_ROW, PromptTensors, RegionFeatures
from perceive_anything.training.prompts import Click, click_at, deepest_cell, random_cell


@torch.no_grad()
def corrected_prompts(
    segment: Callable[[PromptTensors], RegionFeatures],
    prompts: PromptTensors,
    target_RHW: Tensor,
    rounds_R: Tensor,
    cell: float,
    rng: random.Random,
) -> PromptTensors:
    """Prompts with more clicks, each made after a look at the answer to the ones before.

    Args:
        segment: From prompts to masks.
        prompts: The first prompts; those of regions to be corrected are clicks or boxes.
        target_RHW: Soft masks that are wanted.
        rounds_R: (R,) most corrections of each region; 0 leaves its prompt as it is.
        cell: Pixels of the model input a cell of the target.
        rng: Source of chance.
    """
    wanted = (target_RHW >= target_RHW.flatten(1).amax(1).clamp(max=0.5)[:, None, None]).cpu()
    for done in range(int(rounds_R.max())):
        rows = (rounds_R > done).nonzero()[:, 0]
        answer = segment(prompts.rows(rows, prompts.labels.shape[1])).mask_logits > 0
        pairs = zip(answer.cpu().numpy(), wanted[rows.cpu()].numpy(), strict=True)
        clicks = [click_on_mistake(said, meant, cell, rng) for said, meant in pairs]
        found = {int(row): c for row, c in zip(rows, clicks, strict=True) if c is not None}
        prompts = with_clicks(prompts, found)
    return prompts


def click_on_mistake(
    answer: np.ndarray, wanted: np.ndarray, cell: float, rng: random.Random
) -> Click | None:
    """A click in what was missed, or outside in what is too much, whichever is more.

    Half of them in the middle of it, as people click; none if the answer is right.

    Args:
        answer: (H, W) bool.
        wanted: (H, W) bool.
        cell: Pixels of the model input a cell.
        rng: Source of chance.
    """
    missed, surplus = wanted & ~answer, answer & ~wanted
    label = int(missed.sum() >= surplus.sum())
    mistake = missed if label else surplus
    if not mistake.any():
        return None
    y, x = deepest_cell(mistake) if rng.random() < 0.5 else random_cell(mistake, rng)
    return click_at(x, y, cell, label)


def with_clicks(prompts: PromptTensors, clicks: dict[int, Click]) -> PromptTensors:
    """Prompts with one more click for some rows, behind those that each of them has."""
    counts = (prompts.labels != PADDING_ROW).sum(1)
    points = torch.cat([prompts.points, torch.zeros_like(prompts.points[:, :1])], 1)
    padding = torch.full_like(prompts.labels[:, :1], PADDING_ROW)
    labels = torch.cat([prompts.labels, padding], 1)
    for row, (x, y, label) in clicks.items():
        points[row, counts[row]] = points.new_tensor([x, y])
        labels[row, counts[row]] = label
    return replace(prompts, points=points, labels=labels)
