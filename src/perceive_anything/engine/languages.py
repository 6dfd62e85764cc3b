"""Whether a text is in the language that was asked for, and of a fit length.

Knows characters and a few English words. Refuses to know what the text is about.
"""

from __future__ import annotations

import re

# Least and most of a text: English words, Chinese characters.
LENGTHS: dict[str, tuple[tuple[int, int], tuple[int, int]]] = {
    "label": ((1, 6), (1, 16)),
    "definition": ((3, 60), (3, 120)),
    "function": ((0, 60), (0, 120)),
    "caption": ((1, 30), (1, 60)),
    "description": ((5, 160), (8, 320)),
}
TRACK_CAPTION = ((3, 90), (5, 180))
_HAN = re.compile(r"[\u3400-\u9fff]")
_LETTER = re.compile(r"[^\W\d_]")
_PLAIN = re.compile(r"[A-Za-z\u00c0-\u00ff]")
_ENGLISH = frozenset((
    "the", "an", "is", "are", "was", "of", "with", "and", "its", "it", "this", "that", "on", "at",
    "to", "for", "from", "by", "as", "has", "have", "which", "be", "there", "while", "their",
    "next", "left", "right", "his", "her", "into", "over", "a", "in",
))  # fmt: skip
_FOREIGN = frozenset((
    "der", "die", "das", "ein", "eine", "ist", "und", "mit", "auf", "den", "dem", "von", "zu", "le",
    "la", "les", "un", "une", "est", "et", "avec", "sur", "du", "de", "des", "el", "los", "las",
    "es", "y", "con", "en", "una", "il", "lo", "gli", "che", "per", "di",
))  # fmt: skip
_MIN_WORDS = 5  # of a text whose words tell its language


def language_fault(text: str, language: str) -> str | None:
    """What is wrong with a text's language, or None.

    Args:
        text: A text of a reply.
        language: "en" or "zh".
    """
    letters = _LETTER.findall(text)
    if not letters:
        return None if not text else "it has no letters."
    han = len(_HAN.findall(text)) / len(letters)
    if language == "zh":
        return None if han >= 0.5 else "it is not written in Chinese."
    if sum(bool(_PLAIN.match(letter)) for letter in letters) < 0.9 * len(letters):
        return "it is not written in English."
    words = [word.lower() for word in re.findall(r"[^\W\d_]+", text)]
    known = sum(word in _ENGLISH for word in words)
    foreign = sum(word in _FOREIGN for word in words)
    if len(words) >= _MIN_WORDS and (foreign > known or not known):
        return "it is not written in English."
    return None


def length_fault(text: str, name: str, language: str) -> str | None:
    """What is wrong with a text's length, or None.

    Args:
        text: A text of a reply.
        name: Of the field; "story" for the caption of a clip.
        language: "en" or "zh".
    """
    english, chinese = TRACK_CAPTION if name == "story" else LENGTHS[name]
    if language == "zh":
        count, (least, most), unit = len(re.findall(r"\w", text)), chinese, "characters"
    else:
        count, (least, most), unit = len(text.split()), english, "words"
    if least <= count <= most:
        return None
    return f"it has {count} {unit}, expected {least} to {most}."
