"""A teacher that asks nobody: texts from the record, hand-written glosses and measured pixels.

It is what nano's texts were made by, so the whole engine runs anywhere. It cannot see: a wrong
annotation stays wrong.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from typing import Any

from perceive_anything.data.compose import RegionContext, compose_texts, make_context
from perceive_anything.data.knowledge import knowledge
from perceive_anything.data.lexicon import Lexicon, glossed
from perceive_anything.data.schema import ImageRecord
from perceive_anything.engine.answers import EventAnswer, RegionAnswer, SpansAnswer
from perceive_anything.engine.jobs import pixels_of
from perceive_anything.engine.store import PaidReply
from perceive_anything.engine.teacher import Facts, Request

_FIRST = {"en": re.compile(r"^(.+?[.!?])\s+(.*)$", re.DOTALL), "zh": re.compile(r"^(.+?。)(.*)$")}


class OfflineTeacher:
    """See the module.

    Args:
        lexicon: Names and glosses of the training packs, if they are at hand.
    """

    def __init__(self, lexicon: Lexicon | None = None) -> None:
        self.name = "offline"
        self._lexicon = lexicon or Lexicon(())

    def ask(self, request: Request) -> PaidReply:
        """A reply in JSON; it costs nothing."""
        facts, language = request.facts, request.language
        told: Mapping[str, Any]
        if request.answer is RegionAnswer:
            told = self._region(request)
        elif request.answer is SpansAnswer:
            told = {"events": [{"start_s": a, "end_s": b} for a, b in facts.spans]}
        elif request.answer is EventAnswer:
            told = {"caption": facts.story[language]}
        else:
            told = {"label": self._name(facts, language), "caption": facts.story[language]}
        return PaidReply(json.dumps(told, ensure_ascii=False))

    def context(self, facts: Facts) -> RegionContext:
        """What can be measured of a region."""
        image = pixels_of(facts.record.handle)
        lexicon, record = self._lexicon, _without_members(facts)
        if lexicon.find(facts.region.label, facts.record.source) is None:
            labels = tuple(region.label for region in record.regions)
            lexicon = _known(tuple(dict.fromkeys((facts.region.label, *labels))))
        return make_context(record, facts.region, image, lexicon)

    def _name(self, facts: Facts, language: str) -> str:
        context = self.context(facts)
        return context.label_zh if language == "zh" else context.label

    def _region(self, request: Request) -> dict[str, Any]:
        facts, language = request.facts, request.language
        context = self.context(facts)
        tries = len(request.earlier)
        seed = f"{facts.record.id}/{facts.region.id}/{language}/{request.sample}/{tries}"
        texts = compose_texts(context, random.Random(seed), language)
        split = _FIRST[language].match(texts["explain"])
        definition, function = split.groups() if split else (texts["explain"], "")
        return {
            "label": texts["recognize"], "definition": definition, "function": function,
            "attributes": _attributes(context, language), "caption": texts["caption"],
            "description": texts["describe"],
        }  # fmt: skip


def _without_members(facts: Facts) -> ImageRecord:
    """The record without the things that a group consists of: they are not beside it."""
    members = facts.region.extra.get("members", ())
    others = tuple(other for other in facts.record.regions if other.id not in members)
    return replace(facts.record, regions=others)


def _attributes(context: RegionContext, language: str) -> list[str]:
    place, place_zh = knowledge()["positions"][context.position]
    if language == "zh":
        return [*(knowledge()["colours"][colour] for colour in context.colours), f"位于{place_zh}"]
    return [*context.colours, place]


@lru_cache(maxsize=512)
def _known(labels: tuple[str, ...]) -> Lexicon:
    """A lexicon of what the package itself knows of some names."""
    return Lexicon(map(glossed, labels))
