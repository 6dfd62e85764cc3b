"""Plain text for a tiny language model before it sees images: knowledge, captions, made-up regions.

Knows the lexicon and the composed texts. Refuses to know pixels, tokens and chat templates.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from typing import NamedTuple

from perceive_anything.data.compose import compose_texts
from perceive_anything.data.context import BoxXyxy, Neighbour, RegionContext
from perceive_anything.data.grammar import is_person, noun_phrase
from perceive_anything.data.knowledge import COLOURS, knowledge_set
from perceive_anything.data.lexicon import Entry, Lexicon

__all__ = ["TextPair", "iter_corpus", "iter_pairs", "synthetic_context"]

_WEIGHTS = {
    "coco": 0.3, "imagenet": 0.24, "ccp": 0.14, "emoji": 0.12, "caltech101": 0.08, "grocery": 0.07,
    "stuff": 0.05,
}  # fmt: skip
_WHOLE = frozenset({"imagenet", "caltech101", "grocery", "emoji"})
_RELATIONS = ("left", "right", "above", "below", "near", "near", "near")
_PERSON_COLOURS = tuple(c for c in COLOURS if c not in {"brown", "orange", "pink"})
_SIZE_WH = (320, 320)


class TextPair(NamedTuple):
    """One text a region may get.

    Args:
        task: "recognize", "explain", "caption" or "describe".
        language: "en" or "zh".
        text: The text.
        label: English label of the concept.
    """

    task: str
    language: str
    text: str
    label: str


def synthetic_context(lexicon: Lexicon, rng: random.Random) -> RegionContext:
    """A made-up region of a random concept: random place, size, colours and neighbours.

    Args:
        lexicon: The concepts.
        rng: Source of chance.
    """
    sources = [s for s in _WEIGHTS if lexicon.of_source(s)]
    source = rng.choices(sources, [_WEIGHTS[s] for s in sources])[0]
    entry = rng.choice(lexicon.of_source(source))
    whole = rng.random() < (0.7 if source in _WHOLE else 0.05)
    box, share = _random_box(rng, whole)
    return RegionContext(
        label=entry.label.split(" / ")[0],
        label_zh=entry.label_zh,
        entry=entry,
        box_xyxy=box,
        size_wh=_SIZE_WH,
        colours=_random_colours(entry, rng),
        area_share=share,
        neighbours=_random_neighbours(entry, whole, lexicon, rng),
    )


def iter_pairs(
    lexicon: Lexicon, rng: random.Random, languages: tuple[str, ...] = ("en", "zh")
) -> Iterator[TextPair]:
    """Texts of random concepts without end: every task in every language for each made-up region.

    Args:
        lexicon: The concepts.
        rng: Source of chance.
        languages: Which languages.

    Yields:
        Pairs of task and text; the caller wraps them in its chat template.
    """
    while True:
        context = synthetic_context(lexicon, rng)
        for language in languages:
            for task, text in compose_texts(context, rng, language).items():
                yield TextPair(task, language, text, context.label)


def iter_corpus(lexicon: Lexicon, rng: random.Random, num_synthetic: int = 20_000) -> Iterator[str]:
    """Lines of plain text in both languages: one pass over what is known, mixed with made-up texts.

    Captions of validation images are left out.

    Args:
        lexicon: The concepts and captions.
        rng: Source of chance; it also shuffles the lines.
        num_synthetic: How many made-up regions (of six sentences each, three a language) to add.

    Yields:
        One line of text.
    """
    lines = list(_knowledge_lines(lexicon))
    for _ in range(num_synthetic):
        context = synthetic_context(lexicon, rng)
        for language in ("en", "zh"):
            texts = compose_texts(context, rng, language)
            lines += [texts[task] for task in ("explain", "caption", "describe")]
    rng.shuffle(lines)
    yield from lines


def is_validation(image_id: str) -> bool:
    """Whether an image id belongs to the validation split (about 5 %, by its hash).

    Args:
        image_id: The id of a record.
    """
    return int(hashlib.sha1(image_id.encode()).hexdigest()[:8], 16) % 20 == 0


def _knowledge_lines(lexicon: Lexicon) -> Iterator[str]:
    for entry in lexicon.entries:
        yield f"{entry.label}: {entry.label_zh}" if entry.label_zh else entry.label
        if entry.gloss:
            yield f"{noun_phrase(entry.label)}: {entry.gloss}"
        if entry.description:
            yield entry.description
        if entry.synonyms:
            yield ", ".join(entry.synonyms)
    for image_id, captions in lexicon.captions.items():
        if not is_validation(image_id):
            yield from (" ".join(caption.split()) for caption in captions)


def _random_box(rng: random.Random, whole: bool) -> tuple[BoxXyxy, float]:
    width, height = _SIZE_WH
    if whole:
        share = rng.uniform(0.63, 0.95)
        margin = (1 - share**0.5) / 2
        return (
            margin * width,
            margin * height,
            width - margin * width,
            height - margin * height,
        ), share
    share = min(0.6, 10 ** rng.uniform(-3.0, -0.2))
    aspect = 2 ** rng.uniform(-0.8, 0.8)
    wide = min(0.95, (share * aspect) ** 0.5 * 1.2) * width
    high = min(0.95, (share / aspect) ** 0.5 * 1.2) * height
    left, top = rng.uniform(0, width - wide), rng.uniform(0, height - high)
    return (left, top, left + wide, top + high), share


def _random_colours(entry: Entry, rng: random.Random) -> tuple[str, ...]:
    if entry.label in {"face", "skin"} or (entry.source == "emoji" and is_person(entry.label)):
        return ()
    palette = _PERSON_COLOURS if is_person(entry.label) else COLOURS
    count = rng.choices((0, 1, 2, 3), (0.15, 0.5, 0.3, 0.05))[0]
    return ("colorful",) if count == 3 else tuple(rng.sample(palette, count))


def _random_neighbours(
    entry: Entry, whole: bool, lexicon: Lexicon, rng: random.Random
) -> tuple[Neighbour, ...]:
    if entry.source == "ccp":
        person = lexicon.find("person")
        return () if person is None else (Neighbour("person", person.label_zh, "worn_by"),)
    if entry.label == "person" and rng.random() < 0.4:
        clothes = [
            e for e in lexicon.of_source("ccp") if e.label not in knowledge_set("never_worn")
        ]
        worn = rng.sample(clothes, min(len(clothes), rng.randint(1, 3)))
        return tuple(Neighbour(e.label, e.label_zh, "wearing") for e in worn)
    things = lexicon.of_source("coco")
    if whole or not things or rng.random() < 0.3:
        return ()
    supports, found = knowledge_set("supports"), {}
    for other in rng.choices(things, k=rng.randint(1, 2)):
        relation = rng.choice(_RELATIONS)
        fits = entry.label != "person" or other.label not in knowledge_set("tables")
        if other.label in supports and entry.label not in supports and fits and rng.random() < 0.5:
            relation = "on"
        elif entry.label in supports and other.label not in supports and rng.random() < 0.5:
            relation = "under"
        elif entry.label == "person" and other.label in knowledge_set("carried"):
            relation = "with"
        found[other.label] = Neighbour(other.label, other.label_zh, relation)
    return tuple(found.values())
