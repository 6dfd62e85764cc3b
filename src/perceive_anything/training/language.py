"""Stages `alignment` and `finetuning`: the language model learns to read regions.

Knows the tapped tensors of regions and texts written from records. All tasks of a region share one
prefix (header + visual rows) in one row, as at inference; a block mask keeps them apart.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from perceive_anything.modeling import PamForConditionalGeneration
from perceive_anything.modeling.processing import PamProcessor
from perceive_anything.modeling.segmenter import RegionFeatures
from perceive_anything.training.regions import TrainingRegion
from perceive_anything.training.stage import Stage
from perceive_anything.training.tapped import TappedCache

IGNORE = -100
TextWriter = Callable[[TrainingRegion, random.Random, str], dict[str, str]]


@dataclass(frozen=True, slots=True)
class Branch:
    """One task of one region: the ids behind the visual rows and which of them are the answer."""

    ids: list[int]
    num_question: int


@dataclass(frozen=True, slots=True)
class LanguageDraw:
    """Which regions (rows of the sampler's list) and their branches."""

    rows: list[int]
    branches: list[list[Branch]]


class LanguageSampler:
    """Draws regions, rarer labels more often; a batch depends on seed and number alone.

    Args:
        regions: Everything that may be drawn.
        write: Texts of the four tasks for a region in a language.
        processor: Gives token ids.
        num_regions: Regions a batch.
        num_tasks: Texts of each region, the label always among them; 0 for none.
        seed: Seed of all chance.
        source_weights: Factor for the records of a source (by the start of its name).
        zh_share: Share of the texts that are Chinese.
    """

    def __init__(
        self,
        regions: Sequence[TrainingRegion],
        write: TextWriter,
        processor: PamProcessor,
        *,
        num_regions: int,
        num_tasks: int,
        seed: int,
        source_weights: dict[str, float],
        zh_share: float = 0.35,
    ) -> None:
        self.regions, self.write, self.processor = list(regions), write, processor
        self.num_regions, self.num_tasks, self.seed = num_regions, num_tasks, seed
        self.zh_share = zh_share
        counts = Counter(r.region.label for r in self.regions)
        self.weights = [
            counts[r.region.label] ** -0.5 * _source_weight(r, source_weights) for r in self.regions
        ]

    def draw(self, number: int) -> LanguageDraw:
        """What batch `number` is made of."""
        rng = random.Random(f"{self.seed}/{number}")
        rows = rng.choices(range(len(self.regions)), self.weights, k=self.num_regions)
        return LanguageDraw(rows, [self._branches(self.regions[row], rng) for row in rows])

    def _branches(self, region: TrainingRegion, rng: random.Random) -> list[Branch]:
        if not self.num_tasks:
            return []
        others = rng.sample(("explain", "caption", "describe"), self.num_tasks - 1)
        branches = []
        for task in ("recognize", *others):
            language = "zh" if rng.random() < self.zh_share else "en"
            answer = self.write(region, rng, language).get(task)
            if answer:
                branches.append(make_branch(self.processor, task, language, answer))
        return branches


def _source_weight(region: TrainingRegion, weights: dict[str, float]) -> float:
    return next((w for name, w in weights.items() if region.record.source.startswith(name)), 1.0)


def make_branch(processor: PamProcessor, task: str, language: str, answer: str) -> Branch:
    """Question and answer of one task as token ids, closed by the end-of-turn token."""
    return answer_branch(processor, processor.task_ids(task, language), answer)


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
    """

    ids: Tensor
    targets: Tensor
    position_ids: Tensor
    mask: Tensor


def pack_branches(rows: Sequence[Sequence[Branch]], num_prefix: int) -> PackedBranches:
    """Lay the branches of each region side by side; none sees another."""
    longest = max(sum(len(branch.ids) for branch in row) for row in rows)
    total, num_rows = num_prefix + longest, len(rows)
    ids = torch.zeros(num_rows, longest, dtype=torch.long)
    targets = torch.full((num_rows, longest), IGNORE)
    positions = torch.arange(total).repeat(num_rows, 1)
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
            start = end
    causal = torch.ones(total, total, dtype=torch.bool).tril()
    same = (owner[:, :, None] == owner[:, None, :]) | (owner[:, None, :] == 0)
    return PackedBranches(ids, targets, positions, (same & causal)[:, None])


def answer_loss(
    model: PamForConditionalGeneration, prefix_RPD: Tensor, packed: PackedBranches
) -> Tensor:
    """Mean cross entropy of the answers; logits are made only where an answer is predicted."""
    language_model = model.language_model
    texts = model.get_input_embeddings()(packed.ids)
    hidden = language_model.model(
        inputs_embeds=torch.cat([prefix_RPD, texts], 1),
        attention_mask=packed.mask,
        position_ids=packed.position_ids,
        use_cache=False,
    ).last_hidden_state[:, prefix_RPD.shape[1] :]
    wanted = packed.targets != IGNORE
    return F.cross_entropy(language_model.lm_head(hidden[wanted]), packed.targets[wanted])


@dataclass(frozen=True, slots=True)
class LanguageBatch:
    """Tapped tensors of R regions, the tokens (R, S) of their labels, and answers if any."""

    regions: RegionFeatures
    spelled: Tensor
    packed: PackedBranches | None


class LanguageStage(Stage[LanguageBatch]):
    """Tapped tensors -> perceiver -> language model -> losses."""

    def __init__(
        self,
        model: PamForConditionalGeneration,
        processor: PamProcessor,
        tapped: TappedCache,
        sampler: LanguageSampler,
        spelling: float = 0.3,
    ) -> None:
        super().__init__()
        self.model, self.tapped, self.sampler, self.spelling = model, tapped, sampler, spelling
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
        draw = self.sampler.draw(number)
        config = self.model.config
        packed = None
        if any(draw.branches):
            packed = pack_branches(draw.branches, len(self.head_ids) + config.image_rows)
        return LanguageBatch(self.tapped.regions_at(draw.rows), self.spelled[draw.rows], packed)

    def forward(self, batch: LanguageBatch) -> dict[str, Tensor]:
        """Terms of the loss: the answers if any, and the label that the rows spell."""
        visual = self.model.visual_rows(batch.regions)
        semantic = visual[:, -1 - self.num_semantic : -1]
        terms = {}
        if self.spelling:
            loss = self.spelling_loss(semantic, batch.spelled)
            terms["spelling"] = self.spelling * loss
        if batch.packed is not None:
            head = self.model.get_input_embeddings()(self.head_ids)
            prefix = torch.cat([head.expand(len(visual), -1, -1), visual], 1)
            terms["text"] = answer_loss(self.model, prefix, batch.packed)
        return terms

    def spelling_loss(self, semantic_RSD: Tensor, label_RS: Tensor) -> Tensor:
        """Cross entropy of the label's tokens read off the semantic rows, one token a row.

        In `pretraining` the language model read the label in words at this place: rows that look
        like these words are rows that it understands.
        """
        logits = semantic_RSD @ self.model.get_input_embeddings().weight.T
        return F.cross_entropy(logits.flatten(0, 1), label_RS.flatten(), ignore_index=IGNORE)


def spelled_labels(processor: PamProcessor, labels: Sequence[str], length: int) -> Tensor:
    """Token ids of each label, (N, length), cut or filled up with -100."""
    ids = torch.full((len(labels), length), IGNORE)
    for row, label in enumerate(labels):
        tokens = processor.tokenizer(label, add_special_tokens=False).input_ids[:length]
        ids[row, : len(tokens)] = torch.tensor(tokens)
    return ids
