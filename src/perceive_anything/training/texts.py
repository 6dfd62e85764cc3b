"""What the model is asked of a region and what it should answer, from records of any source.

Knows records and words; no tokens, no tensors.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Protocol

from perceive_anything.data.compose import compose_texts
from perceive_anything.data.context import RegionContext, make_context
from perceive_anything.data.lexicon import Lexicon
from perceive_anything.data.schema import (
    TEXT_FIELDS,
    ClipRecord,
    ImageRecord,
    RegionRecord,
    TrackRecord,
)
from perceive_anything.modeling.prompts import TASK_TEXTS, question

Record = ImageRecord | ClipRecord
AnyRegion = RegionRecord | TrackRecord
ZH_SHARE = 0.35
SUFFIXES = {"en": "", "zh": "_zh"}


@dataclass(frozen=True, slots=True)
class Turn:
    """A question about a region and its answer."""

    question: str
    answer: str


class TextSource(Protocol):
    """Where the texts of a region come from."""

    def length(self, region: AnyRegion) -> int:
        """About how many characters an answer has; 0 if the region has no texts at all."""

    def turns(self, record: Record, region: AnyRegion, rng: random.Random) -> list[Turn]:
        """Everything that may be asked of it."""


class WrittenTexts:
    """Texts that stand in the records: whole turns, or fields such as `caption_zh`."""

    def length(self, region: AnyRegion) -> int:
        """Mean length of the answers in characters."""
        turns = self.turns(None, region, random.Random())
        return sum(len(turn.answer) for turn in turns) // len(turns) if turns else 0

    def turns(self, _: Record | None, region: AnyRegion, __: random.Random) -> list[Turn]:
        """All texts of the region."""
        if "turns" in region.extra:
            return [Turn(asked, answer) for asked, answer in region.extra["turns"]]
        return [turn for language in TASK_TEXTS for turn in _known(region, language)]


def _known(region: AnyRegion, language: str) -> list[Turn]:
    if isinstance(region, RegionRecord):
        texts = known_texts(region, language)
        return [Turn(question(task, language), text) for task, text in texts.items() if text]
    suffix = SUFFIXES[language]
    answer = region.extra.get(f"caption{suffix}")
    asked = question("video", language, region.extra.get(f"previous{suffix}"))
    return [Turn(asked, answer)] if answer else []


def known_texts(region: RegionRecord, language: str) -> dict[str, str]:
    """The texts that a record has in a language, "" where none; its name answers `recognize`."""
    suffix = SUFFIXES[language]
    name = region.label_zh if suffix else region.label
    texts = {task: region.extra.get(field + suffix, "") for field, task in TEXT_FIELDS.items()}
    return {"recognize": name or "", **texts}


class ComposedTexts:
    """Texts written from the facts of the packs' regions, see `data.compose`."""

    def __init__(self, lexicon: Lexicon) -> None:
        self.lexicon = lexicon
        self.contexts: dict[tuple[str, int], RegionContext] = {}

    def length(self, _: AnyRegion) -> int:
        """The same for all: how long they become is known only when they are written."""
        return 100

    def turns(self, record: Record, region: AnyRegion, rng: random.Random) -> list[Turn]:
        """The four texts in one language."""
        assert isinstance(record, ImageRecord)  # packs hold no clips
        assert isinstance(region, RegionRecord)
        key = (record.id, region.id)
        if key not in self.contexts:
            image = record.load()
            self.contexts[key] = make_context(record, region, image, self.lexicon)
        language = "zh" if rng.random() < ZH_SHARE else "en"
        texts = compose_texts(self.contexts[key], rng, language)
        return [Turn(question(task, language), text) for task, text in texts.items() if text]
