"""Click simulation over several rounds, against a decoder that paints a disc at each click."""

import random
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from perceive_anything.modeling.segmenter import PADDING_ROW
from perceive_anything.training.corrections import click_on_mistake, corrected_prompts
from perceive_anything.training.prompts import SimulatedPrompt, stack_prompts

CELL, SIDE = 4, 16
WANTED = np.zeros((SIDE, SIDE), dtype=bool)
WANTED[4:12, 2:14] = True


def painted(prompts):
    """Discs of three cells at inside clicks, cut out again at outside clicks."""
    grid = (torch.arange(SIDE) + 0.5) * CELL
    logits = torch.full((len(prompts.points), SIDE, SIDE), -1.0)
    for row, (points, labels) in enumerate(zip(prompts.points, prompts.labels, strict=True)):
        for (x, y), label in zip(points, labels.tolist(), strict=True):
            near = torch.hypot(grid[None] - x, grid[:, None] - y) < 3 * CELL
            if label != PADDING_ROW:
                logits[row][near] = 1.0 if label == 1 else -1.0
    return SimpleNamespace(mask_logits=logits)


def iou(mask):
    return (mask & WANTED).sum() / (mask | WANTED).sum()


@pytest.mark.parametrize("seed", range(6))
def test_a_click_lies_in_the_larger_mistake(seed):
    missed, surplus = WANTED.copy(), WANTED.copy()
    missed[5:9, 2:8] = False
    surplus[13:16] = True
    x, y, label = click_on_mistake(missed, WANTED, CELL, random.Random(seed))
    assert label == 1
    assert WANTED[int(y) // CELL, int(x) // CELL]
    assert not missed[int(y) // CELL, int(x) // CELL]
    x, y, label = click_on_mistake(surplus, WANTED, CELL, random.Random(seed))
    assert label == 0
    assert y >= 13 * CELL


def test_nothing_is_clicked_where_nothing_is_wrong():
    assert click_on_mistake(WANTED, WANTED, CELL, random.Random(0)) is None


def test_each_region_gets_its_own_number_of_corrections_and_masks_get_better():
    first = SimulatedPrompt(((4.5 * CELL, 6.5 * CELL, 1),))
    prompts = stack_prompts([first] * 3, [0, 0, 1], SIDE * CELL)
    target = torch.from_numpy(np.stack([WANTED] * 3).astype(np.float32))
    rounds = torch.tensor([0, 3, 1])
    corrected = corrected_prompts(painted, prompts, target, rounds, CELL, random.Random(0))
    counts = (corrected.labels != PADDING_ROW).sum(1)
    assert counts.tolist() == [1, 4, 2]
    for row, count in enumerate(counts):  # padding comes last, and the first click stays
        assert (corrected.labels[row, count:] == PADDING_ROW).all()
        assert corrected.points[row, 0].tolist() == prompts.points[row, 0].tolist()
    before, after = painted(prompts).mask_logits > 0, painted(corrected).mask_logits > 0
    assert iou(after[1].numpy()) > iou(after[2].numpy()) > iou(before[0].numpy())


def test_chance_follows_from_the_seed():
    prompts = stack_prompts([SimulatedPrompt(((18.0, 26.0, 1),))], [0], SIDE * CELL)
    target, rounds = torch.from_numpy(WANTED.astype(np.float32))[None], torch.tensor([2])
    twice = [
        corrected_prompts(painted, prompts, target, rounds, CELL, random.Random(7)).points
        for _ in range(2)
    ]
    assert torch.equal(*twice)
