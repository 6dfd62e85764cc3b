"""Things beside a region on which people who described the image agree.

Knows records, names and words. Refuses to know pixels and sentences of tasks.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache

from perceive_anything.data.knowledge import knowledge, knowledge_set
from perceive_anything.data.lexicon import Lexicon
from perceive_anything.data.schema import ImageRecord, RegionRecord

__all__ = ["told_things"]

MIN_CAPTIONS = 2


def told_things(
    record: ImageRecord, region: RegionRecord, lexicon: Lexicon
) -> tuple[str, ...] | None:
    """COCO's things that at least two captions mention together with a region.

    Args:
        record: The image's record.
        region: One of its regions.
        lexicon: Names of COCO's things.

    Returns:
        Their names, first those that most captions mention. None where people told nothing: it is
        not the only region of its name, or fewer than two captions mention it.
    """
    alone = sum(other.label == region.label for other in record.regions) == 1
    if not alone or len(record.captions) < MIN_CAPTIONS:
        return None
    names = _names([region.label, *(entry.label for entry in lexicon.of_source("coco"))])
    mentioned = [_things(caption, names) for caption in record.captions]
    about = [things for things in mentioned if region.label in things]
    if len(about) < MIN_CAPTIONS:
        return None
    counts = Counter(thing for things in about for thing in sorted(things))
    agreed = (name for name, count in counts.most_common() if count >= MIN_CAPTIONS)
    return tuple(name for name in agreed if name not in (region.label, "person"))


def _things(caption: str, names: dict[str, str]) -> set[str]:
    """The things that a caption mentions; a "teddy bear" is no bear."""
    return {names[name] for name in _pattern(tuple(names)).findall(caption.lower())}


@lru_cache(maxsize=128)
def _pattern(names: tuple[str, ...]) -> re.Pattern[str]:
    longest = sorted(names, key=len, reverse=True)
    return re.compile(rf"\b({'|'.join(map(re.escape, longest))})(?:e?s)?\b")


def _names(things: Sequence[str]) -> dict[str, str]:
    """Thing by each of its names, but for those that mostly mean something else."""
    others = knowledge()["mentions"]
    table = {name: thing for thing in things for name in (thing, *others.get(thing, ()))}
    return {name: thing for name, thing in table.items() if name not in knowledge_set("ambiguous")}
