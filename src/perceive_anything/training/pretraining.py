"""Stage `pretraining`: the tiny language model learns the words before it sees an image.

Knows the lexicon's made-up regions. Their facts stand as text where the visual rows will be, so
the model learns to read its prefix and to write the four texts from it; every other row or so is a
plain caption.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from perceive_anything.data.compose import compose_texts
from perceive_anything.data.context import RegionContext
from perceive_anything.data.corpus import synthetic_context
from perceive_anything.data.lexicon import Lexicon
from perceive_anything.modeling import PamForConditionalGeneration
from perceive_anything.modeling.processing import PamProcessor
from perceive_anything.tasks import TEXT_TASKS
from perceive_anything.training.branches import (
    Branch,
    PackedBranches,
    make_branch,
    pack_branches,
)
from perceive_anything.training.language import answer_logits, answer_loss
from perceive_anything.training.stage import Stage

PLAIN_SHARE = 0.2


def facts_text(context: RegionContext) -> str:
    """The facts of a region as a short line, the stand-in for what the eyes will see."""
    facts = [
        context.label,
        " ".join(context.colours),
        context.position,
        f"{context.area_share:.2f}",
    ]
    facts += [f"{n.relation} {n.label}" for n in context.neighbours]
    return "; ".join(facts)


@dataclass(frozen=True, slots=True)
class WordsBatch:
    """Prefix ids (R, P), filled up on the left, and the answers behind them."""

    prefixes: Tensor
    packed: PackedBranches


class PretrainingStage(Stage[WordsBatch]):
    """Made-up regions and captions, in words alone."""

    def __init__(
        self,
        model: PamForConditionalGeneration,
        processor: PamProcessor,
        lexicon: Lexicon,
        captions: Sequence[str],
        *,
        num_rows: int,
        num_tasks: int,
        seed: int,
    ) -> None:
        super().__init__()
        self.model, self.processor, self.lexicon = model, processor, lexicon
        self.captions, self.seed = captions, seed
        self.num_rows, self.num_tasks = num_rows, num_tasks
        self.head_ids = processor.head_ids()

    def batch(self, number: int) -> WordsBatch:
        """Made-up rows."""
        rng = random.Random(f"{self.seed}/{number}")
        rows = [self._row(rng) for _ in range(self.num_rows)]
        longest = max(len(prefix) for prefix, _ in rows)
        prefix_ids = [self.head_ids * longest + prefix for prefix, _ in rows]
        prefixes = torch.tensor([ids[-longest:] for ids in prefix_ids])
        return WordsBatch(prefixes, pack_branches([branches for _, branches in rows], longest))

    def forward(self, batch: WordsBatch) -> dict[str, Tensor]:
        """Cross entropy of the answers."""
        embeds = self.model.get_input_embeddings()(batch.prefixes)
        return {"text": answer_loss(answer_logits(self.model, embeds, batch.packed), batch.packed)}

    def _row(self, rng: random.Random) -> tuple[list[int], list[Branch]]:
        """Prefix ids and branches of one made-up region, or of a few plain captions."""
        tokenizer = self.processor.tokenizer
        if rng.random() < PLAIN_SHARE and self.captions:
            texts = rng.sample(self.captions, self.num_tasks)
            ids = [tokenizer(text, add_special_tokens=False).input_ids for text in texts]
            end = tokenizer.eos_token_id
            return self.head_ids, [Branch([*tokens, end], 1) for tokens in ids]
        context = synthetic_context(self.lexicon, rng)
        facts = tokenizer(facts_text(context), add_special_tokens=False).input_ids
        branches = []
        for task in rng.sample(TEXT_TASKS, self.num_tasks):
            language = "zh" if rng.random() < 0.35 else "en"
            text = compose_texts(context, rng, language)[task]
            branches.append(make_branch(self.processor, task, language, text))
        return [*self.head_ids, *facts], branches
