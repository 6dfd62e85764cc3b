"""Which regions and which of their texts a step of `alignment` or `finetuning` learns from.

Knows regions, a writer of texts and chance; no tensors.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from perceive_anything.modeling.processing import PamProcessor
from perceive_anything.modeling.trunk_names import NO_CLASS
from perceive_anything.training.branches import Branch, begin_branch, make_branch
from perceive_anything.training.config import LanguageConfig
from perceive_anything.training.regions import TrainingRegion
from perceive_anything.training.texts import ZH_SHARE

OTHER_TASKS = ("explain", "caption", "describe")
LABEL_IN_BOTH = [("recognize", "en"), ("recognize", "zh")]
CAPTION = [("caption", None)]
TextWriter = Callable[[TrainingRegion, random.Random, str, int], dict[str, str]]


@dataclass(frozen=True, slots=True)
class LanguageDraw:
    """Which regions (rows of the sampler's list) and their branches.

    First come those of which several texts are asked, then those of which the label is, then those
    of which the concise caption is.

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
        settings: How many regions and texts of which kind.
        seed: Seed of all chance.
        source_weights: Factor for the records of a source (by the start of its name).
        num_classes: Classes that the trunk has names for.
        captioned: Those (rows of `regions`) that captions by people tell of.
        zh_share: Share of the texts that are Chinese.
    """

    def __init__(
        self,
        regions: Sequence[TrainingRegion],
        write: TextWriter,
        processor: PamProcessor,
        settings: LanguageConfig,
        *,
        seed: int,
        source_weights: dict[str, float],
        num_classes: int = 0,
        captioned: Sequence[int] = (),
        zh_share: float = ZH_SHARE,
    ) -> None:
        self.regions, self.write, self.processor = list(regions), write, processor
        self.settings, self.seed, self.zh_share = settings, seed, zh_share
        self.num_classes, self.named = num_classes, settings.named if num_classes else 0.0
        self.captioned, self.num_captioned = captioned, settings.captioned if captioned else 0
        counts = Counter(r.region.label for r in self.regions)
        self.weights = [
            0.0
            if r.record.source.startswith(settings.left_out)
            else counts[r.region.label] ** -0.5 * _source_weight(r, source_weights)
            for r in self.regions
        ]

    def draw(self, number: int) -> LanguageDraw:
        """What batch `number` is made of."""
        rng, settings = random.Random(f"{self.seed}/{number}"), self.settings
        count = settings.rows + settings.label_rows
        rows = rng.choices(range(len(self.regions)), self.weights, k=count)
        classes = [self._any_class(rng) for _ in rows]
        branches = [
            (self._texts if place < settings.rows else self._label)(self.regions[row], named, rng)
            for place, (row, named) in enumerate(zip(rows, classes, strict=True))
        ]
        more = rng.choices(self.captioned, k=self.num_captioned) if self.num_captioned else []
        return LanguageDraw(
            [*rows, *more],
            [*branches, *(self._caption(self.regions[row], rng) for row in more)],
            [*classes, *(NO_CLASS for _ in more)],
        )

    def _any_class(self, rng: random.Random) -> int:
        named = self.named and rng.random() < self.named
        return rng.randrange(self.num_classes) if named else NO_CLASS

    def _texts(self, region: TrainingRegion, named: int, rng: random.Random) -> list[Branch]:
        """The label and some of the other texts."""
        if not self.settings.per_row:
            return []
        both = self.settings.both_labels
        others = rng.sample(OTHER_TASKS, self.settings.per_row - (not both))
        labels = LABEL_IN_BOTH if both else [("recognize", None)]
        return self._write(region, named, rng, [*labels, *((task, None) for task in others)])

    def _label(self, region: TrainingRegion, named: int, rng: random.Random) -> list[Branch]:
        """The label in both languages, and what such a thing is."""
        branches = self._write(region, named, rng, LABEL_IN_BOTH)
        if self.settings.definitions:
            branches += self._write(region, named, rng, [("explain", None)], begin_branch)
        return branches

    def _caption(self, region: TrainingRegion, rng: random.Random) -> list[Branch]:
        """The concise caption."""
        weight = self.settings.caption_weight
        branches = self._write(region, NO_CLASS, rng, CAPTION)
        return [replace(branch, weight=weight) for branch in branches]

    def _write(
        self,
        region: TrainingRegion,
        named: int,
        rng: random.Random,
        tasks: Sequence[tuple[str, str | None]],
        make: Callable[[PamProcessor, str, str, str], Branch] = make_branch,
    ) -> list[Branch]:
        """Answers to some tasks, each in the language given or in any."""
        branches = []
        for task, fixed in tasks:
            language = fixed or ("zh" if rng.random() < self.zh_share else "en")
            answer = self.write(region, rng, language, named).get(task)
            if answer:
                is_label = task == "recognize"
                weight = self.settings.label_weight if is_label else 1.0
                branch = make(self.processor, task, language, answer)
                branches.append(replace(branch, weight=weight, is_label=is_label))
        return branches


def _source_weight(region: TrainingRegion, weights: dict[str, float]) -> float:
    return next((w for name, w in weights.items() if region.record.source.startswith(name)), 1.0)
