"""Labels are written with an eye on the rows that spell them.

The stage `alignment` teaches semantic row i to read as token i of the English label. The language
model reads the rows, too, but loses some of it; here both have a say in each token. Knows rows and
logits; no words. Shape suffixes: R regions, N answers being written, S semantic rows, D width, W
vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import LogitsProcessor

from perceive_anything.modeling.model import PamForConditionalGeneration
from perceive_anything.tasks import RECOGNIZE

NOT_A_LABEL = -1
PARALLEL = 0.99  # cosine


class LabelSpelling(LogitsProcessor):
    """Adds to a token's log-probability that of the row in its place, times a weight.

    Where a label ends is left to the language model, as rows behind it spell nothing. So is what
    `TrunkNames` wrote: such a row is the token's own embedding, and not what was taught to spell.

    Args:
        semantic_RSD: Rows that spell labels.
        words_WD: The language model's token embeddings.
        weight: Of the rows.
        ends: Tokens that end an answer.

    Attributes:
        regions_N: Region whose label each answer is; `NOT_A_LABEL` for answers of other kinds. One
            label a region until it is set.
    """

    def __init__(
        self, semantic_RSD: Tensor, words_WD: Tensor, weight: float, ends: Sequence[int]
    ) -> None:
        self.semantic_RSD, self.words_WD, self.weight = semantic_RSD, words_WD, weight
        self.directions_WD = F.normalize(words_WD, dim=-1)
        self.ends = torch.tensor(ends, device=semantic_RSD.device)
        self.regions_N = torch.arange(len(semantic_RSD), device=semantic_RSD.device)

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Scores (N, W) of the next token after `input_ids` (N, written so far)."""
        place = input_ids.shape[1]
        if place >= self.semantic_RSD.shape[1]:
            return scores
        goes_on_N = ~torch.isin(scores.argmax(-1), self.ends)
        answers = (goes_on_N & (self.regions_N != NOT_A_LABEL)).nonzero()[:, 0]
        row_ND = self.semantic_RSD[self.regions_N[answers], place]
        taught = (F.normalize(row_ND, dim=-1) @ self.directions_WD.T).amax(-1) < PARALLEL
        answers, row_ND = answers[taught], row_ND[taught]
        spelled_NW = (row_ND @ self.words_WD.T).float().log_softmax(-1)
        both_NW = scores[answers].float().log_softmax(-1) + self.weight * spelled_NW
        both_NW[:, self.ends] = -torch.inf
        return scores.index_copy(0, answers, both_NW.to(scores.dtype))


def label_spelling(
    model: PamForConditionalGeneration,
    visual_RVD: Tensor,
    tasks: Sequence[str],
    language: str,
    ends: Sequence[int],
) -> LabelSpelling | None:
    """What the rows of regions say of their labels, if labels are written and rows spell them.

    Args:
        model: Any PAM.
        visual_RVD: From `PamForConditionalGeneration.visual_rows`.
        tasks: What is written.
        language: "en" or "zh"; rows spell English.
        ends: Tokens that end an answer.
    """
    weight = model.config.label_spelling
    if not weight or RECOGNIZE not in tasks or language != "en":
        return None
    words_WD = model.get_input_embeddings().weight
    semantic_RSD = visual_RVD[:, -1 - model.config.perceiver_config.num_semantic_tokens : -1]
    return LabelSpelling(semantic_RSD.to(words_WD.dtype), words_WD, weight, ends)
