"""Texts of a region from its facts: label, explanation, concise and detailed caption.

Knows a `RegionContext` and English sentences; Chinese ones are in `compose_zh`. Refuses to know
pixels: every sentence says only what the context holds.
"""

from __future__ import annotations

import random
import re
from dataclasses import replace

from perceive_anything.data.compose_zh import compose_zh
from perceive_anything.data.context import Neighbour, RegionContext, make_context
from perceive_anything.data.grammar import (
    is_person,
    is_plural,
    join_words,
    normalise,
    noun_phrase,
)
from perceive_anything.data.knowledge import knowledge, knowledge_set
from perceive_anything.data.lexicon import EMOJI
from perceive_anything.errors import OptionError

__all__ = ["Neighbour", "RegionContext", "compose_texts", "make_context"]

_FUNCTION_BUDGET = 22


def compose_texts(context: RegionContext, rng: random.Random, language: str) -> dict[str, str]:
    """Write the four texts of a region.

    Args:
        context: Its facts.
        rng: Chooses between wordings.
        language: "en" or "zh".

    Returns:
        Texts by task: "recognize", "explain", "caption", "describe".

    Raises:
        OptionError: The language is neither.
    """
    if language == "zh":
        return compose_zh(context, rng)
    if language != "en":
        raise OptionError(
            f'unknown language "{language}"; expected en or zh.', code="unknown_language"
        )
    return {
        "recognize": context.label,
        "explain": _explain(context, rng),
        "caption": _caption(context, rng),
        "describe": _describe(context, rng),
    }


def _explain(context: RegionContext, rng: random.Random) -> str:
    entry, label = context.entry, context.label
    sentences = []
    if entry is not None and entry.category == EMOJI:
        sentences.append(f"this is an emoji of {noun_phrase(label)}")
        if entry.definition and not is_person(label) and entry.definition.split()[-1] not in label:
            sentences.append(f"it shows {entry.definition}")
    elif entry is not None and entry.definition:
        sentences.append(f"{noun_phrase(label)} {_be(label)} {entry.definition}")
        if entry.function_en and _adds(entry.definition, entry.function_en):
            verb = _agree(entry.function_en, label)
            sentences.append(f"{_pronoun(label)} {verb}")
    else:
        this = "these" if is_plural(label) else "this"
        sentences.append(f"{this} {_be(label)} {noun_phrase(label)}")
    lead, of_image = rng.choice((("here", " of the image"), ("in this image", "")))
    sentences.append(f"{lead} {_pronoun(label)} {_be(label)} {_place(context, of_image)}")
    return _text(sentences)


def _caption(context: RegionContext, rng: random.Random) -> str:
    noun = _coloured(context)
    worn = tuple(n for n in context.neighbours if n.relation == "wearing")
    nearest = worn or (context.told or context.neighbours)[:1]
    phrases = _phrases(replace(context, neighbours=nearest))
    if worn or (phrases and (context.is_main or rng.random() < 0.6)):
        return f"{noun} {phrases[0]}"
    if context.is_main or context.position == "center":
        return noun
    return f"{noun} {_position(context)}"


def _describe(context: RegionContext, rng: random.Random) -> str:
    label = context.label
    split = len(context.shown_colours) == 2 and not is_person(label) and rng.random() < 0.5
    noun = noun_phrase(label) if split else _coloured(context)
    subject = "the person" if label == "person" else _pronoun(label)
    be, cover = _be(label), "cover" if is_plural(label) else "covers"
    if context.is_main:
        first = rng.choice(
            (f"{noun} {be} the main subject of the image", f"the image shows {noun}")
        )
    elif rng.random() < 0.5:
        first = f"{noun} {be} {_position(context)} of the image"
    else:
        first = f"{_position(context)} of the image there {be} {noun}"
    sentences = [first]
    if split:
        mostly, some = context.colours
        sentences.append(f"{subject} {be} mostly {mostly} with some {some}")
    size = f"{cover} {_share(context)} of the image"
    sentences.append(f"{subject} " + join_words([*_clauses(context)[:2], size]))
    return _text(sentences)


def _place(context: RegionContext, of_image: str) -> str:
    place = "the main subject" if context.is_main else _position(context)
    return ", ".join([place + of_image, *_phrases(context)[: 1 if context.is_main else 2]])


def _coloured(context: RegionContext) -> str:
    """The label with its colours: "a brown and white cat", "a person in black"."""
    colours = join_words(list(context.shown_colours))
    if not is_person(context.label):
        return noun_phrase(context.label, colours)
    noun = noun_phrase(context.label)
    worn = any(n.relation == "wearing" for n in context.neighbours)
    plain = not colours or worn or colours == "colorful"
    return noun if plain else f"{noun} in {colours}"


def _position(context: RegionContext) -> str:
    return str(knowledge()["positions"][context.position][0])


def _share(context: RegionContext) -> str:
    shares = knowledge()["shares"]
    return next(
        str(names[0]) for limit, names in shares.items() if context.area_share <= float(limit)
    )


def _phrases(context: RegionContext) -> list[str]:
    """Neighbours as phrases, one a relation: "next to a chair", "wearing a hat and shoes"."""
    return [
        knowledge()["relations"][relation]["phrase"].format(join_words(nouns))
        for relation, nouns in _grouped(context).items()
    ]


def _clauses(context: RegionContext) -> list[str]:
    """Neighbours as predicates: "is next to a chair", "has a dog to the left"."""
    return [
        _agree(knowledge()["relations"][relation]["sentence"], context.label).format(
            join_words(nouns)
        )
        for relation, nouns in _grouped(context).items()
    ]


def _grouped(context: RegionContext) -> dict[str, list[str]]:
    groups: dict[str, list[str]] = {}
    own = normalise(context.label)
    for neighbour in context.neighbours:
        another = normalise(neighbour.label) == own
        noun = noun_phrase(neighbour.label, another=another)
        groups.setdefault(neighbour.relation, []).append(noun)
    return groups


def _adds(definition: str, function: str) -> bool:
    """Whether the function says something that the definition does not, and stays short."""
    words_d = {normalise(word) for word in definition.split()} - knowledge_set("filler")
    words_f = {normalise(word) for word in function.replace(",", "").split()} - knowledge_set(
        "filler"
    )
    fits = len(definition.split()) + len(function.split()) <= _FUNCTION_BUDGET
    return fits and len(words_d & words_f) * 3 < len(words_f)


def _be(label: str) -> str:
    return "are" if is_plural(label) else "is"


def _pronoun(label: str) -> str:
    if is_person(label) and not is_plural(label):
        return "the person"
    return "they" if is_plural(label) else "it"


def _agree(predicate: str, label: str) -> str:
    """The predicate with its verb in the plural where the label is plural."""
    verb, _, rest = predicate.partition(" ")
    if is_plural(label):
        irregular = {"is": "are", "has": "have", "does": "do", "flies": "fly", "lives": "live"}
        plain = verb if verb in {"can", "lived"} else verb.removesuffix("s")
        verb = irregular.get(verb, plain)
    return f"{verb} {rest}"


def _text(sentences: list[str]) -> str:
    """Sentences with capitals and full stops."""
    return " ".join(
        s[0].upper() + s[1:] + ("" if re.search(r"[.!?]$", s) else ".") for s in sentences
    )
