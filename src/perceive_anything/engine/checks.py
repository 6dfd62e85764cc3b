"""Checks of a reply: language, length, subject, agreement with the source, foreign instructions.

Each gives None or a `Dropped` whose detail is also what the teacher is told. Knows texts and names;
no pictures.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from perceive_anything.data.grammar import normalise
from perceive_anything.data.knowledge import knowledge
from perceive_anything.engine.answers import Answer, RegionAnswer
from perceive_anything.engine.embedding import Similarity
from perceive_anything.engine.jobs import Dropped
from perceive_anything.engine.languages import language_fault, length_fault

MAX_NOTE_WORDS = 12  # a longer annotation is a text, not a name
_ORDER = re.compile(
    r"\b(ignore|disregard|forget|override)\b.{0,40}\b(instruction|prompt|previous|above|rule)s?\b"
    r"|\b(reply|respond|answer|output|say|print)\b.{0,20}\b(with|only|exactly)\b"
    r"|\byou are now\b|\bsystem\s*(prompt|:)|\bassistant\s*:|忽略.{0,12}(指令|指示|说明)",
    re.IGNORECASE,
)
_TALK = re.compile(
    r"https?://|\bwww\.|<annotation|\bas an ai\b|\blanguage model\b|\bi cannot\b|\bi'm sorry\b|"
    r"\bprevious instructions\b|\bset[- ]of[- ]mark\b|\boutlined in (pink|magenta)\b|作为.{0,4}AI",
    re.IGNORECASE,
)  # fmt: skip
_TOKEN = re.compile(r"https?://\S+|[\"“'‘]([^\"”'’]{3,60})[\"”'’]|\b[A-Z][A-Z0-9_]{3,}\b")


@dataclass(frozen=True, slots=True)
class Subject:
    """What the texts should be about.

    Attributes:
        note: The source's annotation, unchanged; "" for none.
        neighbours: Names of regions beside it, other than its own.
    """

    note: str
    neighbours: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The annotation without what reads like an order; "" if nothing is left."""
        found = _ORDER.search(self.note)
        told = self.note[: found.start()] if found else self.note
        return told.strip(" .,;:-\n\"'")

    @property
    def told(self) -> str:
        """What a teacher is told of the annotation: orders are left out where they are known."""
        return self.name if self.is_suspicious else self.note

    @property
    def is_suspicious(self) -> bool:
        """Whether the annotation gives orders."""
        return bool(_ORDER.search(self.note))


def check_form(answer: Answer, language: str, *, story: bool = False) -> Dropped | None:
    """Language and length of every text.

    Args:
        answer: The reply.
        language: "en" or "zh".
        story: Whether the caption is one of a clip.
    """
    for name, text in answer.texts().items():
        fault = language_fault(text, language)
        if fault:
            return Dropped("language", f"{name}: {fault}")
        field = "story" if story and name == "caption" else name
        fault = length_fault(text, field, language)
        if fault:
            return Dropped("length", f"{name}: {fault}")
    return None


def check_obedience(answer: Answer, subject: Subject) -> Dropped | None:
    """Whether the reply talks about its orders, or obeys the annotation's."""
    whole = " ".join([*answer.texts().values(), *getattr(answer, "attributes", ())])
    if _TALK.search(whole):
        return Dropped("talk", "it speaks of something else than the region.")
    if subject.is_suspicious:
        ordered = subject.note[len(subject.name) :]
        tokens = [match[1] or match[0] for match in _TOKEN.finditer(ordered)]
        if any(token.lower() in whole.lower() for token in tokens):
            return Dropped("obeyed", "it follows orders that stand in the note.")
    return None


def check_subject(label: str, texts: Iterable[str], subject: Subject) -> Dropped | None:
    """Whether English texts speak of the marked object, and of it before its neighbours.

    Args:
        label: What the teacher calls the object.
        texts: Caption and description.
        subject: What the source knows.
    """
    source = _names(subject.name) if len(subject.name.split()) < 4 else set()
    others = {name for n in subject.neighbours for name in _names(n)} - source
    if normalise(label) in others:
        return Dropped("neighbour", f'"{label}" is beside the marked region, not in it.')
    own = _names(label) | source
    others -= own
    for text in texts:
        first = _first_mention(text, own)
        if first is None:
            return Dropped("subject", f'"{text[:60]}" does not name the {label}.')
        other = _first_mention(text, others)
        if other is not None and other < first:
            return Dropped("neighbour", f'"{text[:60]}" is about what is beside the region.')
    return None


def check_subject_zh(label: str, texts: Iterable[str]) -> Dropped | None:
    """The same in Chinese: the label, or its last two characters, stands in one of the texts."""
    name = re.sub(r"[^\w]", "", label)
    if any(name[-2:] in text for text in texts):
        return None
    return Dropped("subject", f"没有提到“{label}”。")


def check_agreement(
    label: str, caption: str, subject: Subject, least: float, alike: Similarity
) -> Dropped | None:
    """Whether the teacher's name, or caption, fits the source's annotation."""
    name = subject.name
    if not name:
        if not subject.note:
            return None
        return Dropped("suspicious", "the annotation is nothing but orders.")
    if _names(label) & _names(name) or normalise(name) in normalise(caption):
        return None
    told = label if len(name.split()) <= MAX_NOTE_WORDS else caption
    best = alike(name.lower(), told.lower())
    if best < least and told == label:
        best = max(best, alike(name.lower(), caption.lower()))
    if best >= least:
        return None
    return Dropped("agreement", f'"{label}" does not fit the note (similarity {best:.2f}).')


def check_samples(
    first: RegionAnswer, second: RegionAnswer, least: float, alike: Similarity
) -> Dropped | None:
    """Whether two samples tell the same."""
    same = bool(_names(first.label) & _names(second.label))
    if first.caption == second.caption or (same and alike(first.caption, second.caption) >= least):
        return None
    if not same and alike(first.label, second.label) >= max(least, 0.6):
        return None
    return Dropped("inconsistent", f'once "{first.caption}", once "{second.caption}".')


def first_fault(*checks: Callable[[], Dropped | None]) -> Dropped | None:
    """The first fault found; later checks are not run."""
    return next((fault for check in checks if (fault := check()) is not None), None)


def _names(label: str) -> set[str]:
    """A name, its head ("dining table" -> "table") and what people call it besides."""
    name = normalise(label)
    names = {name, name.split()[-1] if name else "", name.split(" with ")[0].split(" of ")[0]}
    for row in knowledge()["aliases"]:
        if label in row or name in row:
            names |= {normalise(other) for other in row}
    names |= {normalise(other) for other in knowledge()["mentions"].get(name, ())}
    return names - {""}


def _first_mention(text: str, names: set[str]) -> int | None:
    """Word at which one of the names first stands."""
    words = [normalise(word) for word in re.findall(r"[\w'-]+", text.lower())]
    found = [place for name in names if (place := _place_of(name.split(), words)) is not None]
    return min(found, default=None)


def _place_of(name: list[str], words: list[str]) -> int | None:
    span = len(name)
    matches = (i for i in range(len(words) - span + 1) if words[i : i + span] == name)
    return next(matches, None)
