"""What people wrote of an image, as texts of one of its regions.

Knows records, names and English word order.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from perceive_anything.data.knowledge import knowledge
from perceive_anything.data.lexicon import Entry
from perceive_anything.data.schema import ImageRecord, RegionRecord

__all__ = ["captions_of", "own_captions"]

MAX_WORDS = 14
_LEAD = (
    r"(?:there is |this is )?(?:[\w -]{0,25}\b(?:close[- ]up|drawing|image|painting|photo"
    r"|photograph|picture|portrait|shot|view) of )?"
)
_LINK = (
    r"(?:and|are|at|behind|by|for|from|in|is|near|of|on|over|people|sitting|standing|that|to|two"
    r"|under|while|with)\b"
)


def own_captions(record: ImageRecord, region: RegionRecord, entry: Entry | None) -> tuple[str, ...]:
    """Captions of an image that are captions of a region, the only one of its name.

    Args:
        record: The image's record.
        region: One of its regions.
        entry: What is known of it.
    """
    if sum(other.label == region.label for other in record.regions) > 1:
        return ()
    return captions_of(region.label, entry, record.captions)


def captions_of(label: str, entry: Entry | None, captions: Iterable[str]) -> tuple[str, ...]:
    """Short captions that begin with one such thing, from it on.

    "There is a photo of a young man who waits." becomes "a young man who waits".

    Args:
        label: Name of the thing.
        entry: What is known of it; its synonyms count.
        captions: What people wrote.
    """
    subject = rf"(?:(?!{_LINK})[\w-]+ ){{0,4}}(?:{_names(label, entry)})\b(?! and\b).*"
    pattern = re.compile(f"{_LEAD}({subject})", re.I)
    matches = (pattern.match(" ".join(caption.split())) for caption in captions)
    found = (match[1].rstrip(" .") for match in matches if match)
    return tuple(_lower(text) for text in found if len(text.split()) <= MAX_WORDS)


def _names(label: str, entry: Entry | None) -> str:
    """The words for a thing as alternatives of a pattern."""
    more = knowledge()["mentions"].get(label, ())
    names = {label, *more, *(entry.synonyms if entry else ())}
    return "|".join(re.escape(name) for name in sorted(names))


def _lower(text: str) -> str:
    """With a small first letter; all of it where capitals mean nothing."""
    return text.lower() if text.isupper() else text[0].lower() + text[1:]
