"""Stages `alignment` and `finetuning`: the language model learns to read regions.

Knows the tapped tensors of regions and texts written from records. All tasks of a region share one
prefix (header + visual rows) in one row, as at inference; a block mask keeps them apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from perceive_anything.modeling import PamForConditionalGeneration
from perceive_anything.modeling.processing import PamProcessor
from perceive_anything.modeling.segmenter import SeenRegions
from perceive_anything.training.branches import IGNORE, PackedBranches, pack_branches
from perceive_anything.training.language_sampler import LanguageSampler
from perceive_anything.training.stage import Stage
from perceive_anything.training.tapped import TappedCache

LABELS = 0.5


def answer_loss(
    model: PamForConditionalGeneration, prefix_RPD: Tensor, packed: PackedBranches
) -> Tensor:
    """Weighted mean cross entropy of the answers; logits are made only where one is predicted."""
    language_model = model.language_model
    texts = model.get_input_embeddings()(packed.ids)
    hidden = language_model.model(
        inputs_embeds=torch.cat([prefix_RPD, texts], 1),
        attention_mask=packed.mask,
        position_ids=packed.position_ids,
        use_cache=False,
    ).last_hidden_state[:, prefix_RPD.shape[1] :]
    wanted = packed.targets != IGNORE
    logits, weights = language_model.lm_head(hidden[wanted]), packed.weights[wanted]
    losses = F.cross_entropy(logits, packed.targets[wanted], reduction="none")
    return (losses * weights).sum() / weights.sum()


def drop_parts(seen: SeenRegions, share: float) -> SeenRegions:
    """Leave out a share of a region's channels, thrice that of its means, at most that of cells."""
    embedding = F.dropout2d(seen.embedding, share)
    num_regions, _, *cells = embedding.shape
    shares = 3 * share * torch.rand(num_regions, 1, 1, 1, device=embedding.device)
    kept = torch.rand(num_regions, 1, *cells, device=embedding.device) >= shares
    seen = replace(seen, embedding=embedding * kept)
    if seen.inside is None or seen.close is None:
        return seen
    inside, close = (F.dropout(means, 3 * share) for means in (seen.inside, seen.close))
    return replace(seen, inside=inside, close=close)


def mix_rows(rows_RSD: Tensor, most: float) -> Tensor:
    """Half of the regions get some of another region's rows, at most that share."""
    draws = torch.rand(2, len(rows_RSD), 1, 1, device=rows_RSD.device)
    share = most * draws[0] * (draws[1] < 0.5)
    others = torch.randperm(len(rows_RSD), device=rows_RSD.device)
    return (1 - share) * rows_RSD + share * rows_RSD[others]


@dataclass(frozen=True, slots=True)
class LanguageBatch:
    """R regions to learn from.

    Attributes:
        seen: What the perceiver reads of them.
        spelled: (R, S) tokens of their labels.
        packed: Answers of the first regions, if any.
        labels: Labels of the others, which are read without image rows.
        classes: (R,) classes of the trunk, see `LanguageDraw`.
    """

    seen: SeenRegions
    spelled: Tensor
    packed: PackedBranches | None
    labels: PackedBranches | None
    classes: Tensor


class LanguageStage(Stage[LanguageBatch]):
    """Tapped tensors -> perceiver -> language model -> losses.

    Args:
        model: What learns.
        processor: Gives token ids.
        tapped: What SAM 2 says of the sampler's regions.
        sampler: Draws the batches.
        spelling: Weight of the loss that lets the semantic rows spell the label.
        smoothing: Share of the spelled label that is spread over all tokens.
        dropped: Share of the tapped tensors that is left out, see `drop_parts`.
        mixed: Largest share of another region's semantic rows, see `mix_rows`.
    """

    def __init__(
        self,
        model: PamForConditionalGeneration,
        processor: PamProcessor,
        tapped: TappedCache,
        sampler: LanguageSampler,
        spelling: float = 0.3,
        smoothing: float = 0.0,
        dropped: float = 0.0,
        mixed: float = 0.0,
    ) -> None:
        super().__init__()
        self.model, self.tapped, self.sampler, self.spelling = model, tapped, sampler, spelling
        self.smoothing, self.dropped, self.mixed = smoothing, dropped, mixed
        self.seed = sampler.seed
        self.head_ids = nn.Buffer(torch.tensor(processor.head_ids()), persistent=False)
        self.spelled = spelled_labels(
            processor, [r.region.label for r in sampler.regions], self.num_semantic
        )

    @property
    def num_semantic(self) -> int:
        """Semantic rows of a region."""
        return int(self.model.config.perceiver_config.num_semantic_tokens)

    def batch(self, number: int) -> LanguageBatch:
        """Regions by chance, with some of their texts."""
        draw, num_head = self.sampler.draw(number), len(self.head_ids)
        num_rows = self.model.config.image_rows
        split = len(draw.rows) - self.sampler.settings.label_rows
        first, others = draw.branches[:split], draw.branches[split:]
        cells = num_rows - self.num_semantic - 2  # beside the newlines
        short = num_head + num_rows - cells
        return LanguageBatch(
            self.tapped.seen_at(draw.rows),
            self.spelled[draw.rows],
            pack_branches(first, num_head + num_rows) if any(first) else None,
            pack_branches(others, short, (num_head, cells)) if others else None,
            torch.tensor(draw.classes),
        )

    def forward(self, batch: LanguageBatch) -> dict[str, Tensor]:
        """Terms of the loss: the answers if any, and the label that the rows spell."""
        seen = drop_parts(batch.seen, self.dropped) if self.dropped else batch.seen
        visual = self.model.rows_of(seen)
        semantic = visual[:, -1 - self.num_semantic : -1]
        terms: dict[str, Tensor] = {}
        if self.spelling:
            loss = self.spelling_loss(semantic, batch.spelled)
            terms["spelling"] = self.spelling * loss
        if batch.packed is not None:
            visual = self.model.with_names(visual, batch.seen, batch.classes)
            semantic, rest = visual[:, -1 - self.num_semantic : -1], visual[:, -1:]
            if self.mixed:
                semantic = mix_rows(semantic, self.mixed)
            image = visual[:, : -1 - self.num_semantic]
            head = self.model.get_input_embeddings()(self.head_ids).expand(len(visual), -1, -1)
            split = len(batch.packed.ids)
            prefix = torch.cat([head, image, semantic, rest], 1)[:split]
            terms["text"] = answer_loss(self.model, prefix, batch.packed)
            if batch.labels is not None:
                short = torch.cat([head, image[:, -1:], semantic, rest], 1)[split:]
                terms["labels"] = LABELS * answer_loss(self.model, short, batch.labels)
        return terms

    def spelling_loss(self, semantic_RSD: Tensor, label_RS: Tensor) -> Tensor:
        """Cross entropy of the label's tokens read off the semantic rows, one token a row.

        In `pretraining` the language model read the label in words at this place: rows that look
        like these words are rows that it understands.
        """
        logits = semantic_RSD @ self.model.get_input_embeddings().weight.T
        return F.cross_entropy(
            logits.flatten(0, 1),
            label_RS.flatten(),
            ignore_index=IGNORE,
            label_smoothing=self.smoothing,
        )


def spelled_labels(processor: PamProcessor, labels: Sequence[str], length: int) -> Tensor:
    """Token ids of each label, (N, length), cut or filled up with -100."""
    ids = torch.full((len(labels), length), IGNORE)
    for row, label in enumerate(labels):
        tokens = processor.tokenizer(label, add_special_tokens=False).input_ids[:length]
        ids[row, : len(tokens)] = torch.tensor(tokens)
    return ids
