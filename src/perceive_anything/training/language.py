"""Stages `alignment` and `finetuning`: the language model learns to read regions.

Knows the tapped tensors of regions and texts written from records. All tasks of a region share one
prefix (header + visual rows) in one row, as at inference; a block mask keeps them apart.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from perceive_anything.modeling import PamForConditionalGeneration
from perceive_anything.modeling.processing import PamProcessor
from perceive_anything.modeling.segmenter import SeenRegions
from perceive_anything.modeling.trunk_names import NO_CLASS
from perceive_anything.training.regions import TrainingRegion
from perceive_anything.training.stage import Stage
from perceive_anything.training.tapped import TappedCache

IGNORE = -100
OTHER_TASKS = ("explain", "caption", "describe")
LABELS = 0.5
TextWriter = Callable[[TrainingRegion, random.Random, str, int], dict[str, str]]


@dataclass(frozen=True, slots=True)
class Branch:
    """One task of one region: the ids behind the visual rows and which of them are the answer."""

    ids: list[int]
    num_question: int
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class LanguageDraw:
    """Which regions (rows of the sampler's list) and their branches; the last only have labels.

    Attributes:
        classes: Of the trunk, for one of which a region is taken; `NO_CLASS` for none.
    """

    rows: list[int]
    branches: list[list[Branch]]
    classes: list[int]


class LanguageSampler:
    """Draws regions, rarer labels more often; a batch depends on seed and number alone.

    Args:
        regions: Everything that may be drawn.
        write: Texts of the four tasks for a region in a language, as one of a class of the trunk
            or, with `NO_CLASS`, as what it is.
        processor: Gives token ids.
        num_regions: Regions a batch.
        num_tasks: Texts of each region, the label always among them; 0 for none.
        seed: Seed of all chance.
        source_weights: Factor for the records of a source (by the start of its name).
        left_out: Sources that are not drawn (by the start of their names).
        num_classes: Classes that the trunk has names for.
        named: Share of the regions that are taken for one of any of these.
        zh_share: Share of the texts that are Chinese.
        both_labels: Ask for the label in both languages, besides `num_tasks` other texts.
        num_labels: Further regions a batch of which only the label is asked, in both languages.
        label_weight: How much a label's token counts beside one of the other texts.
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
        left_out: tuple[str, ...] = (),
        num_classes: int = 0,
        named: float = 0.0,
        zh_share: float = 0.35,
        both_labels: bool = False,
        num_labels: int = 0,
        label_weight: float = 1.0,
    ) -> None:
        self.regions, self.write, self.processor = list(regions), write, processor
        self.num_regions, self.num_tasks, self.seed = num_regions, num_tasks, seed
        self.both_labels, self.num_labels = both_labels, num_labels
        self.label_weight = label_weight
        self.num_classes, self.named = num_classes, named if num_classes else 0.0
        self.zh_share = zh_share
        counts = Counter(r.region.label for r in self.regions)
        self.weights = [
            0.0
            if r.record.source.startswith(left_out)
            else counts[r.region.label] ** -0.5 * _source_weight(r, source_weights)
            for r in self.regions
        ]

    def draw(self, number: int) -> LanguageDraw:
        """What batch `number` is made of."""
        rng = random.Random(f"{self.seed}/{number}")
        count = self.num_regions + self.num_labels
        rows = rng.choices(range(len(self.regions)), self.weights, k=count)
        classes = [self._any_class(rng) for _ in rows]
        branches = [
            self._branches(self.regions[row], named, rng, only_label=place >= self.num_regions)
            for place, (row, named) in enumerate(zip(rows, classes, strict=True))
        ]
        return LanguageDraw(rows, branches, classes)

    def _any_class(self, rng: random.Random) -> int:
        named = self.named and rng.random() < self.named
        return rng.randrange(self.num_classes) if named else NO_CLASS

    def _branches(
        self, region: TrainingRegion, named: int, rng: random.Random, *, only_label: bool
    ) -> list[Branch]:
        if not self.num_tasks:
            return []
        labels: tuple[tuple[str, str | None], ...] = (("recognize", None),)
        if self.both_labels or only_label:
            labels = (("recognize", "en"), ("recognize", "zh"))
        count = 0 if only_label else self.num_tasks - (not self.both_labels)
        others = [(task, None) for task in rng.sample(OTHER_TASKS, count)]
        branches = []
        for task, fixed in (*labels, *others):
            language = fixed or ("zh" if rng.random() < self.zh_share else "en")
            answer = self.write(region, rng, language, named).get(task)
            if answer:
                branch = make_branch(self.processor, task, language, answer)
                weight = self.label_weight if task == "recognize" else 1.0
                branches.append(replace(branch, weight=weight))
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
        weights: (R, T) how much each prediction counts.
    """

    ids: Tensor
    targets: Tensor
    position_ids: Tensor
    mask: Tensor
    weights: Tensor


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
            start = end
    causal = torch.ones(total, total, dtype=torch.bool).tril()
    same = (owner[:, :, None] == owner[:, None, :]) | (owner[:, None, :] == 0)
    place, count = left_out
    positions[:, place:] += count
    return PackedBranches(ids, targets, positions, (same & causal)[:, None], weights)


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
        split, num_rows = self.sampler.num_regions, self.model.config.image_rows
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
