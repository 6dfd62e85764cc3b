"""Chinese texts of a region from its facts; the wordings of `compose` in Chinese.

Knows a `RegionContext` and Chinese sentences. Refuses to know pixels and English grammar.
"""

from __future__ import annotations

import random
from dataclasses import replace

from perceive_anything.data.context import RegionContext
from perceive_anything.data.grammar import display_name, display_name_zh, is_person, normalise
from perceive_anything.data.knowledge import knowledge, knowledge_set
from perceive_anything.data.lexicon import EMOJI

__all__ = ["compose_zh"]


def compose_zh(context: RegionContext, rng: random.Random) -> dict[str, str]:
    """Write the four texts of a region in Chinese.

    Args:
        context: Its facts.
        rng: Chooses between wordings.

    Returns:
        Texts by task: "recognize", "explain", "caption", "describe".
    """
    return {
        "recognize": context.label_zh or context.label,
        "explain": _explain(context, rng),
        "caption": _caption(context, rng),
        "describe": _describe(context, rng),
    }


def _explain(context: RegionContext, rng: random.Random) -> str:
    name, entry = _name(context), context.entry
    sentences = []
    category = _category(context)
    if entry is not None and entry.category == EMOJI:
        sentences.append(f"这是{name}的表情符号")
        if entry.category_zh and not is_person(context.label) and entry.category_zh not in name:
            sentences.append(f"它表示{entry.category_zh}")
    elif category:
        sentences.append(f"{name}{category}")
    if entry is not None and entry.function_zh:
        sentences.append(entry.function_zh)
    if not sentences:
        sentences.append(f"这是{name}")
    lead = "" if context.is_main else rng.choice(("", "在这张图中，"))
    sentences.append(lead + _place(context))
    return _text(sentences)


def _caption(context: RegionContext, rng: random.Random) -> str:
    worn = tuple(n for n in context.neighbours if n.relation == "wearing")
    nearest = context.neighbours if worn else (context.told or context.neighbours)[:1]
    modifiers = _relations(replace(context, neighbours=nearest), "modifier_zh")
    if worn:
        return "、".join(m.removesuffix("的") for m in modifiers[:2]) + "的" + _name(context)
    if modifiers and (context.is_main or rng.random() < 0.6):
        return modifiers[0] + _coloured(context, after=True)
    if context.is_main or context.position == "center":
        return _coloured(context)
    return f"图像{_position(context)}的{_coloured(context, after=True)}"


def _describe(context: RegionContext, rng: random.Random) -> str:
    split = len(context.shown_colours) == 2 and not is_person(context.label) and rng.random() < 0.5
    noun = _name(context) if split else _coloured(context)
    sentences = []
    if context.is_main:
        sentences.append(rng.choice((f"图像的主体是{noun}", f"图像中主要是{noun}")))
    elif rng.random() < 0.5:
        sentences.append(f"{noun}位于图像{_position(context)}，{_share(context)}")
    else:
        sentences.append(f"图像{_position(context)}是{noun}，{_share(context)}")
    if split:
        first, second = (knowledge()["colours"][c] for c in context.shown_colours)
        sentences.append(f"它主要是{first}，带有{second}")
    clauses = _relations(context, "zh")
    if clauses:
        sentences.append(f"{_pronoun(context)}{'，'.join(clauses)}")
    category = _category(context)
    if category and not clauses:
        sentences.append(f"{_pronoun(context)}{category}")
    return _text(sentences)


def _place(context: RegionContext) -> str:
    if context.is_main:
        place = f"{_pronoun(context)}是画面的主体"
    else:
        place = f"{_pronoun(context)}位于图像{_position(context)}"
    return "，".join([place, *_relations(context, "zh")])


def _category(context: RegionContext) -> str:
    """What it is, as a predicate: "是一种家具"; "" where unknown."""
    entry = context.entry
    if entry is not None and entry.category == EMOJI:
        return "是一个表情符号"
    if entry is None or not entry.category_zh or entry.category_zh == _name(context):
        return ""
    if entry.category_zh.endswith("一部分"):
        return f"是{entry.category_zh}"
    return f"是一种{entry.category_zh}"


def _name(context: RegionContext) -> str:
    return display_name_zh(context.label_zh) if context.label_zh else display_name(context.label)


def _pronoun(context: RegionContext) -> str:
    return "这个人" if context.label == "person" else "它"


def _coloured(context: RegionContext, *, after: bool = False) -> str:
    """The name with its colours; `after` a modifier a single colour drops its 的."""
    name, colours = _name(context), [knowledge()["colours"][c] for c in context.shown_colours]
    if not colours:
        return name
    joined = "和".join(colours)
    if is_person(context.label):
        return name if joined == "彩色" else f"穿{joined}衣服的{name}"
    return f"{joined}{name}" if after and len(colours) == 1 else f"{joined}的{name}"


def _position(context: RegionContext) -> str:
    return str(knowledge()["positions"][context.position][1])


def _share(context: RegionContext) -> str:
    shares = knowledge()["shares"]
    return next(
        str(names[1]) for limit, names in shares.items() if context.area_share <= float(limit)
    )


def _relations(context: RegionContext, form: str) -> list[str]:
    """Neighbours in one form of the relation table; what is worn takes 穿 or 戴."""
    groups: dict[tuple[str, bool], list[str]] = {}
    own = normalise(context.label)
    for neighbour in context.neighbours:
        dainty = neighbour.label in knowledge_set("worn_on_head_or_hand")
        key = (neighbour.relation, neighbour.relation == "wearing" and dainty)
        name = display_name_zh(neighbour.label_zh or neighbour.label)
        if normalise(neighbour.label) == own:
            name = f"另一个{name}" if is_person(neighbour.label) else f"别的{name}"
        groups.setdefault(key, []).append(name)
    texts = []
    for (relation, dainty), names in groups.items():
        joined = "、".join(names[:-1]) + "和" + names[-1] if len(names) > 1 else names[0]
        text = knowledge()["relations"][relation][form].format(joined)
        texts.append("戴" + text[1:] if dainty else text)
    return texts


def _text(sentences: list[str]) -> str:
    return "".join(f"{sentence}。" for sentence in sentences)
