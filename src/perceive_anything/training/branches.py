"""Questions and answers of a region as token ids behind a prefix that they share.

Knows token ids and a processor; no model. R regions, P rows of the prefix, T tokens of branches.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from perceive_anything.modeling.processing import PamProcessor

IGNORE = -100


@dataclass(frozen=True, slots=True)
class Branch:
    """One task of one region: the ids behind the visual rows and which of them are the answer.

    Attributes:
        ids: Question and answer.
        num_question: How many of them ask.
        weight: How much each token of the answer counts.
        is_label: Whether the answer is the region's label.
    """

    ids: list[int]
    num_question: int
    weight: float = 1.0
    is_label: bool = False


def make_branch(processor: PamProcessor, task: str, language: str, answer: str) -> Branch:
    """Question and answer of one task as token ids, closed by the end-of-turn token."""
    return answer_branch(processor, processor.task_ids(task, language), answer)


def begin_branch(processor: PamProcessor, task: str, language: str, answer: str) -> Branch:
    """The same with the answer's first sentence alone, left open: more may follow it."""
    sentence = re.split(r"(?<=\.) |(?<=。)", answer)[0]
    branch = make_branch(processor, task, language, sentence)
    return replace(branch, ids=branch.ids[:-1])


def answer_branch(processor: PamProcessor, question: list[int], answer: str) -> Branch:
    """Token ids of a question and its answer, closed by the end-of-turn token."""
    tokens = processor.tokenizer(answer, add_special_tokens=False).input_ids
    return Branch([*question, *tokens, processor.tokenizer.eos_token_id], len(question))


@dataclass(frozen=True, slots=True)
class PackedBranches:
    """Branches of R regions behind a shared prefix of P rows, padded to P + T.

    Attributes:
        ids: (R, T) token ids.
        targets: (R, T) the id that each position must predict, -100 where none.
        position_ids: (R, P + T); every branch starts at P.
        mask: (R, 1, P + T, P + T) bool, True where attention is allowed.
        weights: (R, T) how much each prediction counts.
        of_label: (R, T) bool, predictions of labels.
    """

    ids: Tensor
    targets: Tensor
    position_ids: Tensor
    mask: Tensor
    weights: Tensor
    of_label: Tensor


def pack_branches(
    rows: Sequence[Sequence[Branch]], num_prefix: int, left_out: tuple[int, int] = (0, 0)
) -> PackedBranches:
    """Lay the branches of each region side by side; none sees another.

    Args:
        rows: Branches of each region.
        num_prefix: Length of the prefix.
        left_out: Place in the prefix, and how many rows are left out there; positions go on as if
            they were not.
    """
    longest = max(sum(len(branch.ids) for branch in row) for row in rows)
    total, num_rows = num_prefix + longest, len(rows)
    ids = torch.zeros(num_rows, longest, dtype=torch.long)
    targets = torch.full((num_rows, longest), IGNORE)
    positions = torch.arange(total).repeat(num_rows, 1)
    weights = torch.ones(num_rows, longest)
    of_label = torch.zeros(num_rows, longest, dtype=torch.bool)
    owner = torch.full((num_rows, total), -1)
    owner[:, :num_prefix] = 0
    for row, branches in enumerate(rows):
        start = 0
        for number, branch in enumerate(branches, start=1):
            end = start + len(branch.ids)
            tokens = torch.tensor(branch.ids)
            ids[row, start:end] = tokens
            first = start + branch.num_question - 1
            targets[row, first : end - 1] = tokens[branch.num_question :]
            positions[row, num_prefix + start : num_prefix + end] = num_prefix + torch.arange(
                len(branch.ids)
            )
            owner[row, num_prefix + start : num_prefix + end] = number
            weights[row, start:end] = branch.weight
            of_label[row, start:end] = branch.is_label
            start = end
    causal = torch.ones(total, total, dtype=torch.bool).tril()
    same = (owner[:, :, None] == owner[:, None, :]) | (owner[:, None, :] == 0)
    place, count = left_out
    positions[:, place:] += count
    return PackedBranches(ids, targets, positions, (same & causal)[:, None], weights, of_label)
