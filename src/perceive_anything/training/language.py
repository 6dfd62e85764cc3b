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


def answer_logits(
    model: PamForConditionalGeneration, prefix_RPD: Tensor, packed: PackedBranches
) -> Tensor:
    """Logits (N, V) of the answers' tokens; none are made where nothing is predicted."""
    language_model = model.language_model
    texts = model.get_input_embeddings()(packed.ids)
    hidden = language_model.model(
        inputs_embeds=torch.cat([prefix_RPD, texts], 1),
        attention_mask=packed.mask,
        position_ids=packed.position_ids,
        use_cache=False,
    ).last_hidden_state[:, prefix_RPD.shape[1] :]
    return language_model.lm_head(hidden[packed.targets != IGNORE])


def answer_loss(
    logits_NV: Tensor, packed: PackedBranches, taught_NV: Tensor | None = None, held: float = 0.0
) -> Tensor:
    """Weighted mean cross entropy of the answers.

    Args:
        logits_NV: From `answer_logits`.
        packed: The answers.
        taught_NV: The logits of a model that labels are to stay near.
        held: How much of what labels are taught is what that model says of them.
    """
    wanted = packed.targets != IGNORE
    losses = F.cross_entropy(logits_NV, packed.targets[wanted], reduction="none")
    if taught_NV is not None:
        beside = F.cross_entropy(logits_NV, taught_NV.softmax(1), reduction="none")
        losses = torch.lerp(losses, beside, held * packed.of_label[wanted].to(losses.dtype))
    weights = packed.weights[wanted]
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
        teacher: A copy of the model as it was before; labels stay near what it says.
        held: How near, see `answer_loss`.
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
        teacher: PamForConditionalGeneration | None = None,
        held: float = 0.0,
    ) -> None:
        super().__init__()
        self.model, self.tapped, self.sampler, self.spelling = model, tapped, sampler, spelling
        self.smoothing, self.dropped, self.mixed = smoothing, dropped, mixed
        self.teacher, self.held = teacher, held
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
        split = self.sampler.settings.rows
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
        if batch.packed is None:
            return terms
        rows = [self.model.with_names(visual, batch.seen, batch.classes)]
        if self.teacher is not None:
            with torch.no_grad():
                taught = self.teacher.rows_of(seen)
                rows.append(self.teacher.with_names(taught, batch.seen, batch.classes))
        return terms | self.text_losses(self.mixed_alike(rows), batch.packed, batch.labels)

    def mixed_alike(self, rows: Sequence[Tensor]) -> list[Tensor]:
        """Versions of the same regions' rows; those of each region get the same share of others."""
        if not self.mixed:
            return list(rows)
        start = -1 - self.num_semantic
        semantic = torch.cat([one[:, start:-1] for one in rows], 1)
        parts = mix_rows(semantic, self.mixed).chunk(len(rows), 1)
        return [
            torch.cat([one[:, :start], part, one[:, -1:]], 1)
            for one, part in zip(rows, parts, strict=True)
        ]

    def text_losses(
        self, rows: Sequence[Tensor], packed: PackedBranches, labels: PackedBranches | None
    ) -> dict[str, Tensor]:
        """Losses of the first regions' answers, and of those read without image rows.

        Args:
            rows: Of all regions, for the model and, where there is one, for the teacher.
            packed: Answers of the first regions.
            labels: Labels, definitions and captions of the others.
        """
        split, short = len(packed.ids), -2 - self.num_semantic
        terms = {"text": self.text_loss([one[:split] for one in rows], packed)}
        if labels is not None:
            terms["labels"] = LABELS * self.text_loss([one[split:, short:] for one in rows], labels)
        return terms

    def text_loss(self, rows: Sequence[Tensor], packed: PackedBranches) -> Tensor:
        """Loss of answers behind the header and rows."""
        logits = self.logits(self.model, rows[0], packed)
        if self.teacher is None:
            return answer_loss(logits, packed)
        with torch.no_grad():
            taught = self.logits(self.teacher, rows[1], packed)
        return answer_loss(logits, packed, taught, self.held)

    def logits(
        self, model: PamForConditionalGeneration, rows_RVD: Tensor, packed: PackedBranches
    ) -> Tensor:
        """What a model says of answers behind the header and rows."""
        head = model.get_input_embeddings()(self.head_ids).expand(len(rows_RVD), -1, -1)
        return answer_logits(model, torch.cat([head, rows_RVD], 1), packed)

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
