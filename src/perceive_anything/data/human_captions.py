"""What people who described an image agree on: who a person is, and which things are there.

Knows records, names and words. Refuses to know pixels and sentences of tasks.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

from perceive_anything.data.knowledge import knowledge, knowledge_set
from perceive_anything.data.lexicon import Lexicon
from perceive_anything.data.schema import ImageRecord, RegionRecord

__all__ = ["NOTHING", "Agreed", "agreed_facts"]

PERSON = "person"
MIN_CAPTIONS = 2


@dataclass(frozen=True, slots=True)
class Agreed:
    """Facts of a region that at least two people wrote.

    Args:
        who: "man", "woman", "boy", "girl", "child" or "baby" for a person; "" where they differ.
        things: Names of COCO's other things in the picture, first those that most captions mention.
    """

    who: str = ""
    things: tuple[str, ...] = ()


NOTHING = Agreed()


def agreed_facts(record: ImageRecord, region: RegionRecord, lexicon: Lexicon) -> Agreed:
    """What the captions of an image agree on about the only region of its name.

    Captions that do not mention such a thing say nothing of it.

    Args:
        record: The image's record.
        region: One of its regions.
        lexicon: Names of COCO's things.
    """
    if len(record.captions) < MIN_CAPTIONS:
        return NOTHING
    if sum(other.label == region.label for other in record.regions) > 1:
        return NOTHING
    names = _names([entry.label for entry in lexicon.of_source("coco")])
    told = [_things(caption, names) for caption in record.captions]
    about = [(c, things) for c, things in zip(record.captions, told, strict=True)
             if region.label in things]  # fmt: skip
    counts = Counter(thing for _, things in about for thing in sorted(things))
    things = [name for name, count in counts.most_common() if count >= MIN_CAPTIONS]
    who = _who(caption for caption, _ in about) if region.label == PERSON else ""
    return Agreed(who, tuple(name for name in things if name not in (region.label, PERSON)))


def _who(captions: Iterable[str]) -> str:
    """What most captions that tell call the person first, if two do."""
    kinds = {word: kind for kind, (_, *words) in knowledge()["who"].items() for word in words}
    found = (next((kinds[w] for w in _words(c) if w in kinds), None) for c in captions)
    counts = Counter(kind for kind in found if kind)
    kind, count = next(iter(counts.most_common(1)), ("", 0))
    return kind if count >= MIN_CAPTIONS and 2 * count > counts.total() else ""


def _words(caption: str) -> list[str]:
    return re.findall(r"[a-z]+", caption.lower())


def _things(caption: str, names: dict[str, str]) -> set[str]:
    """The things that a caption mentions; "teddy bear" is no bear."""
    found = _pattern(tuple(names)).findall(caption.lower())
    return {names[name] for name in found}


@lru_cache(maxsize=4)
def _pattern(names: tuple[str, ...]) -> re.Pattern[str]:
    longest = sorted(names, key=len, reverse=True)
    return re.compile(rf"\b({'|'.join(map(re.escape, longest))})(?:e?s)?\b")


def _names(things: Sequence[str]) -> dict[str, str]:
    """Thing by each of its names; those that are mostly other words are left out."""
    table = {
        name: thing
        for thing in (PERSON, *things)
        for name in (thing, *knowledge()["mentions"].get(thing, ()))
    }
    return {name: thing for name, thing in table.items() if name not in knowledge_set("ambiguous")}
