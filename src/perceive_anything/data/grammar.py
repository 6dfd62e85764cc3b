"""English grammar for labels and dictionary glosses: articles, plurals, definitions, display names.

Knows strings only. Refuses to know records, images and the lexicon.
"""

from __future__ import annotations

import re
from functools import lru_cache

from perceive_anything.data.knowledge import knowledge_set

__all__ = [
    "definition_of",
    "display_name",
    "display_name_zh",
    "is_person",
    "is_plural",
    "is_uncountable",
    "join_words",
    "normalise",
    "noun_phrase",
    "singular",
    "trim_words",
]  # fmt: skip

_PHRASE_END = re.compile(
    r"^(of|with|that|which|having|in|on|for|used|to|made|from|by|at|native|whose|worn|consisting|"
    r"resembling|related|noted|where|as|found|kept|covered|composed|held|domesticated|formerly|"
    r"usually|especially|about|like|between|and|similar|standing|containing|built|valued|bearing|"
    r"originally|developed|designed|suitable|served|eaten|considered|grown|marked|formed|placed|"
    r"attached|equipped|without|when|whereby|over|under|around|operated|powered|driven|ranging|"
    r"carried|thrown|cut|distinguished|characterized|capable|able|stretched|located|living|ending|"
    r"widespread|common|known|who|bred|prepared|baked|cooked|sold|lacking|near|popular|typically)$"
)
_CONNECTIVE = re.compile(
    r"^(that|which|with|usually|including|and|or|of|for|having|resembling|whose|where|capable|but|"
    r"consisting|as|to|in|on|by|from|near|often|sometimes|used|used,|made|at|into)$"
)
_SUPERLATIVE = re.compile(r"^(largest|smallest|tallest|biggest|smaller|larger|most|only)$")
_AN = re.compile(r"^(hour|heir|honest|honor|x-|f-|atm|sos|ng |id |ok |[aeiou])", re.IGNORECASE)
_NOT_AN = re.compile(r"^(uni(?!n)|eu|one|ukulele|us |use|u-|utensil|oncet)", re.IGNORECASE)


@lru_cache(maxsize=8192)
def display_name(label: str) -> str:
    """The label as it reads inside a sentence: "flag: estonia" becomes "flag of Estonia"."""
    label = label.split(" / ")[0]
    head, colon, rest = label.partition(": ")
    if not colon:
        return label
    if head == "flag":
        small = {"Of", "And", "Da", "The"}
        words = [w.lower() if w in small else w for w in (x.capitalize() for x in rest.split())]
        words = [w.upper() if w in {"Sar", "U.s."} else w for w in words]
        return "flag of " + " ".join(words)
    if head == "keycap":
        return f"keycap {rest}"
    if rest.endswith("hair"):
        return f"{head} with {rest}"
    return f"{rest} {head}" if rest == "bald" else f"{head} ({rest})"


@lru_cache(maxsize=8192)
def display_name_zh(label_zh: str) -> str:
    """The Chinese label as it reads inside a sentence: the flag's country comes first."""
    head, colon, rest = label_zh.partition(": ")
    if not colon:
        return label_zh
    if head == "旗":
        return f"{rest}旗"
    return f"{head}{rest}" if head == "按键" else f"{head}（{rest}）"


def _head_word(name: str) -> str:
    """The noun a name is about: "nest with eggs" is about a nest."""
    words = name.lower().split()
    for index, word in enumerate(words):
        if index and words[index - 1] in knowledge_set("people_words") and word.endswith("ing"):
            return words[index - 1]
        if index and word in {"of", "with", "in", "on", "for", "over", "blowing", "holding", "and"}:
            return words[index - 1]
    return words[-1] if words else ""


@lru_cache(maxsize=8192)
def is_plural(label: str) -> bool:
    """Whether a label names several things or a pair: "shoes", "jeans", "scissors"."""
    head = _head_word(display_name(label))
    if head in {"people", "men", "women", "children"}:
        return True
    if not head.endswith("s") or head.endswith(("ss", "'s", "’s")):
        return False
    return head not in knowledge_set("singular_s")


@lru_cache(maxsize=8192)
def is_person(label: str) -> bool:
    """Whether a label names a human being, so that colours are those of the clothes."""
    words = set(re.split(r"[ :,]+", label.lower()))
    return bool(words & knowledge_set("people_words")) or label in knowledge_set("people")


@lru_cache(maxsize=8192)
def is_uncountable(label: str) -> bool:
    """Whether a label takes no "a": "hair", "milk"."""
    name = display_name(label).lower()
    return name in knowledge_set("uncountable") or _head_word(name) in knowledge_set("uncountable")


def noun_phrase(label: str, adjectives: str = "", *, another: bool = False) -> str:
    """A label with its article: "a cat", "an orange cat", "shoes", "another cat".

    Args:
        label: The English label.
        adjectives: Words between article and noun.
        another: Say "another" or "other" instead of the article.
    """
    name = display_name(label)
    body = f"{adjectives} {name}" if adjectives else name
    if is_plural(label) or is_uncountable(label):
        return f"other {body}" if another else body
    if another:
        return f"another {body}"
    if not adjectives and label.startswith("flag: "):
        return f"the {body}"
    return f"{_article(body)} {body}"


def _article(body: str) -> str:
    return "an" if _AN.match(body) and not _NOT_AN.match(body) else "a"


@lru_cache(maxsize=16384)
def singular(name: str) -> str:
    """The last word without its plural ending, by rule; good enough to compare names."""
    head, _, last = name.rpartition(" ")
    if last in {"men", "women"}:
        last = last[:-2] + "an"
    elif last == "people":
        last = "person"
    elif last in knowledge_set("singular_s") or last.endswith(("ss", "us")) or len(last) < 4:
        pass
    elif last.endswith("ies"):
        last = last[:-3] + "y"
    elif last.endswith(("ches", "shes", "xes", "sses", "oes")) and last not in {"shoes", "toes"}:
        last = last[:-2]
    elif last.endswith("s"):
        last = last[:-1]
    return f"{head} {last}" if head else last


@lru_cache(maxsize=16384)
def normalise(name: str) -> str:
    """A name for comparison: lower case, no article, no punctuation, singular."""
    text = re.sub(r"[-_/]", " ", name.lower())
    text = re.sub(r"[^\w' ]", "", text).replace("'s ", "s ").strip()
    text = re.sub(r"^(a|an|the) ", "", re.sub(r"\s+", " ", text))
    return singular(text.replace("grey", "gray"))


def join_words(words: list[str], last: str = " and ") -> str:
    """Join as in a sentence: "a, b and c"."""
    return ", ".join(words[:-1]) + last + words[-1] if len(words) > 1 else "".join(words)


def trim_words(text: str, limit: int) -> str:
    """Shorten to at most `limit` words: after the last comma or before the last connecting word."""
    words = re.sub(r",? etc\.?$", "", text).split()
    if len(words) > limit:
        words = words[:limit]
        cuts = [i for i in range(6, limit) if _CONNECTIVE.match(words[i])]
        cuts += [i for i in range(7, limit + 1) if words[i - 1].endswith(",")]
        words = words[: max(cuts, default=limit)]
    while words and words[-1].lower().rstrip(",") in knowledge_set("dangling"):
        words.pop()
    return " ".join(words).rstrip(",;: ")


def definition_of(gloss: str, limit: int = 18) -> str:
    """The first clause of a gloss as a predicate: "feline mammal; ..." -> "a feline mammal".

    Args:
        gloss: A WordNet gloss.
        limit: The most words it may have.
    """
    text = re.sub(r"\([^)]*\)", " ", gloss)
    text = re.sub(r"\be\.g\.\s*", "", re.sub(r'[`"“”]', "", text))
    clause = re.split(r"[;:]", text)[0]
    clause = re.sub(r"\s+", " ", clause).replace(" ,", ",").strip(" ,.")
    if not clause:
        return ""
    clause = trim_words(clause, limit)
    if clause.startswith("any of "):
        return "one of " + clause.removeprefix("any of ")
    if clause.startswith("any "):
        return _article(clause[4:]) + clause[3:]
    if clause.split()[0].lower() in knowledge_set("determiners"):
        return clause
    return _with_article(clause)


def _with_article(clause: str) -> str:
    words = clause.split()
    if _SUPERLATIVE.match(words[0]):
        return f"the {clause}"
    head = words[0]
    for word in words:
        bare = word.rstrip(",").lower()
        if word is not words[0] and _PHRASE_END.match(bare):
            break
        head = bare
    if head in knowledge_set("uncountable") and head != "fruit":
        return clause
    plural = head.endswith("s") and not head.endswith(("ss", "us", "is"))
    if plural and head not in knowledge_set("singular_s"):
        return f"one of the {clause}"
    return f"{_article(clause)} {clause}"
