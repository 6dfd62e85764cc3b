"""Hand-written words in both languages: categories, functions, definitions, colours, relations.

Knows how to read `resources/knowledge.json`. Refuses to know records, images and sentences.
"""

from __future__ import annotations

import json
from functools import lru_cache
from importlib import resources
from typing import Any

__all__ = ["COLOURS", "knowledge", "knowledge_set"]

COLOURS = (
    "black", "white", "gray", "red", "orange", "yellow", "green", "blue", "purple", "pink", "brown",
)  # fmt: skip


@lru_cache(maxsize=1)
def knowledge() -> dict[str, Any]:
    """The whole table; read once."""
    file = resources.files("perceive_anything.data").joinpath("resources/knowledge.json")
    return json.loads(file.read_text("utf-8"))


@lru_cache(maxsize=16)
def knowledge_set(name: str) -> frozenset[str]:
    """One list of the table as a set.

    Args:
        name: Its key, such as "uncountable".
    """
    return frozenset(knowledge()[name])
