"""The lexicon: every concept's names, definition, category and function, from `text.json.gz`.

Knows words and WordNet chains. Refuses to know pixels, records' regions and sentences of tasks.
"""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from perceive_anything.data.grammar import (
    definition_of,
    display_name,
    is_plural,
    is_uncountable,
    normalise,
)
from perceive_anything.data.knowledge import knowledge
from perceive_anything.data.packs import read_pack
from perceive_anything.errors import DataError

__all__ = ["EMOJI", "SOURCES", "Entry", "Lexicon", "glossed", "source_key"]

EMOJI = "emoji"
TEXT_FILE = "text.json.gz"
SOURCES = ("coco", "ccp", "stuff", "caltech101", "grocery", "imagenet", "emoji")
_SOURCE_WORDS = {
    "coco": "coco", "clothing": "ccp", "ccp": "ccp", "caltech": "caltech101", "grocery": "grocery",
    "imagenet": "imagenet", "emoji": "emoji", "stuff": "stuff",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Entry:
    """One concept of one source.

    Args:
        label: English name.
        label_zh: Chinese name; the group's name where the concept has none.
        source: One of `SOURCES`.
        gloss: Dictionary gloss, unchanged; "" where there is none.
        hypernyms: Broader words, nearest first; the first may be the group of a product.
        synonyms: Other names.
        description: Visual description, unchanged; "" where there is none.
        wnid: WordNet id of exactly this concept, "" where unknown or broader.
        definition: Predicate of an English definition: "a feline mammal with thick soft fur".
        category: First broader word that has a Chinese name, "" where there is none.
        category_zh: Its Chinese name.
        function_en: What it is for or does, starting with a verb: "is used to sit on".
        function_zh: The same as a Chinese clause.
    """

    label: str
    label_zh: str
    source: str
    gloss: str = ""
    hypernyms: tuple[str, ...] = ()
    synonyms: tuple[str, ...] = ()
    description: str = ""
    wnid: str = ""
    definition: str = ""
    category: str = ""
    category_zh: str = ""
    function_en: str = ""
    function_zh: str = ""


class Lexicon:
    """All concepts of all sources, found by name.

    Args:
        entries: The concepts.
        captions: Human captions by image id.
    """

    def __init__(
        self, entries: Iterable[Entry], captions: Mapping[str, list[str]] | None = None
    ) -> None:
        """Index the concepts by name and source."""
        self.entries: tuple[Entry, ...] = tuple(entries)
        self.captions: Mapping[str, list[str]] = captions or {}
        self._by_source: dict[tuple[str, str], Entry] = {}
        self._by_name: dict[str, list[Entry]] = {}
        for entry in self.entries:
            self._by_source.setdefault((entry.source, entry.label), entry)
        for names_of in (lambda e: (e.label,), lambda e: e.synonyms):
            for entry in self.entries:
                for name in names_of(entry):
                    known = self._by_name.setdefault(normalise(name), [])
                    if entry not in known:
                        known.append(entry)
        self._by_name_zh: dict[str, set[str]] = {}
        for entry in self.entries:
            if entry.label_zh:
                self._by_name_zh.setdefault(entry.label_zh, set()).add(entry.label)
        self._of_source = {s: tuple(e for e in self.entries if e.source == s) for s in SOURCES}
        self._aliases = _alias_table()

    @classmethod
    def load(cls, folder: str | Path) -> Lexicon:
        """Read the lexicon of a folder of packs.

        Args:
            folder: Folder with `text.json.gz`; emoji names come from the emoji pack if present.

        Raises:
            DataError: The file is missing or malformed.
        """
        path = Path(folder) / TEXT_FILE
        try:
            with gzip.open(path, "rt", encoding="utf-8") as stream:
                table = json.load(stream)
        except FileNotFoundError as error:
            raise DataError(
                f'no {TEXT_FILE} in "{folder}".\n  Give the folder with the packs: --data DIR.',
                code="file_missing",
            ) from error
        except (OSError, ValueError) as error:
            raise DataError(f"{path} cannot be read: {error}.", code="bad_record") from error
        entries = [
            _entry(row, source)
            for source in SOURCES
            for row in table.get(source, ())
        ]  # fmt: skip
        lexicon = cls(entries, table.get("coco_captions"))
        emoji = Path(folder) / "fluent_emoji.tar"
        if not emoji.exists():
            return lexicon
        return cls([*entries, *_emoji_entries(emoji, lexicon)], lexicon.captions)

    def find(self, label: str, source: str | None = None) -> Entry | None:
        """The entry of a name; the source decides between homonyms.

        Args:
            label: A name or synonym.
            source: One of `SOURCES` or the `source` text of a record; None takes the first match.
        """
        key = source_key(source)
        exact = self._by_source.get((key, label)) if key else None
        if exact is not None:
            return exact
        found = self._by_name.get(normalise(label), ())
        return next((entry for entry in found if entry.source == key), next(iter(found), None))

    def of_source(self, source: str) -> tuple[Entry, ...]:
        """All entries of one of `SOURCES`."""
        return self._of_source[source]

    def name_zh(self, label: str, source: str | None = None, known: str | None = None) -> str:
        """The cleaned Chinese name of a label; the English one where there is none.

        Args:
            label: English label.
            source: As for `find`.
            known: The Chinese name a record carries.
        """
        entry = self.find(label, source)
        if entry is not None and entry.label_zh:
            return entry.label_zh
        return clean_name_zh(label, known or "") or display_name(label)

    def names_of_zh(self, name_zh: str) -> set[str]:
        """The English labels that a Chinese name stands for; the name itself if it is none."""
        return self._by_name_zh.get(name_zh.strip(), {name_zh})

    def same_concept(self, predicted: str, truth: str, max_steps: int = 2) -> bool:
        """Whether a predicted name is right for a true one.

        Right are the name itself, singular or plural, a synonym, and a broader or narrower word
        within `max_steps` WordNet steps. Siblings are wrong.

        Args:
            predicted: The name to judge; it may be unknown to the lexicon.
            truth: The true label.
            max_steps: How many steps up or down count.
        """
        names_p, names_t = self._names(predicted), self._names(truth)
        if names_p & names_t:
            return True
        wnids = [self._wnids(name) for name in (predicted, truth)]
        if wnids[0] & wnids[1]:
            return True
        return bool(
            names_p & self._broader(truth, max_steps)
            or names_t & self._broader(predicted, max_steps)
        )

    def _of(self, name: str) -> list[Entry]:
        """Entries whose label is the name; entries that list it as a synonym if there are none."""
        key = normalise(name)
        found = self._by_name.get(key, [])
        return [entry for entry in found if normalise(entry.label) == key] or list(found)

    def _names(self, name: str) -> set[str]:
        key = normalise(name)
        names = {key} | self._aliases.get(key, set())
        for entry in self._of(name):
            names |= {normalise(n) for n in (entry.label, *entry.synonyms)}
        return names

    def _wnids(self, name: str) -> set[str]:
        return {entry.wnid for entry in self._of(name) if entry.wnid}

    def _broader(self, name: str, max_steps: int) -> set[str]:
        return {normalise(h) for entry in self._of(name) for h in entry.hypernyms[:max_steps]}


def source_key(source: str | None) -> str | None:
    """The lexicon's source for the `source` text of a record ("COCO val2017" -> "coco").

    Args:
        source: Any text; None and unknown texts give None.
    """
    lowered = (source or "").lower()
    return next((key for word, key in _SOURCE_WORDS.items() if word in lowered), None)


def glossed(label: str) -> Entry:
    """What the package's own table knows of a name, without any `text.json.gz`; maybe nothing."""
    return _entry({"label": label, "label_zh": knowledge()["names_zh"].get(label, "")}, "")


def clean_name_zh(label: str, name: str) -> str:
    """A short Chinese name: one of several, without remarks; known mistakes are mended.

    Args:
        label: The English label.
        name: The Chinese name as given.
    """
    short = re.sub(r"（[^）]*）|\([^)]*\)", "", name)
    short = re.split(r"[；;，,/]", short)[0].strip() if not name.startswith("家庭") else name
    return knowledge()["names_zh"].get(label, short) if name else ""


def _alias_table() -> dict[str, set[str]]:
    table: dict[str, set[str]] = {}
    for row in knowledge()["aliases"]:
        names = {normalise(name) for name in row}
        for name in names:
            table.setdefault(name, set()).update(names)
    return table


def _entry(row: Mapping[str, Any], source: str) -> Entry:
    label, gloss_for = row["label"], row.get("gloss_for")
    hypernyms = list(row.get("hypernyms", ()))
    broader = [] if gloss_for is None or normalise(gloss_for) == normalise(label) else [gloss_for]
    coarse = row.get("coarse_label")
    if coarse and normalise(coarse) not in {normalise(n) for n in (label, *broader)}:
        broader.insert(0, coarse)
    label_zh = row.get("label_zh") or row.get("coarse_label_zh") or ""
    if source in ("imagenet", "coco"):
        label_zh = clean_name_zh(label, label_zh)
    entry = Entry(
        label=label,
        label_zh=label_zh,
        source=source,
        gloss=row.get("gloss", ""),
        hypernyms=tuple(dict.fromkeys([*broader, *hypernyms])),
        synonyms=tuple(row.get("synonyms", ())),
        description=row.get("description", ""),
        wnid="" if broader else row.get("wnid", ""),
    )
    return replace(_with_category(entry), definition=_definition(entry, coarse))


def _definition(entry: Entry, coarse: str | None) -> str:
    table = knowledge()["definitions"]
    definition = table.get(entry.label) or table.get(coarse) or definition_of(entry.gloss)
    if is_plural(entry.label) or is_uncountable(entry.label):
        return definition.removeprefix("one of the ")
    return definition


def _with_category(entry: Entry) -> Entry:
    table = knowledge()
    chain = (entry.label, *entry.hypernyms)
    named = table["categories"]
    category = next(
        (h for h in entry.hypernyms if named.get(h, entry.label_zh) != entry.label_zh), ""
    )
    function = next((table["functions"][name] for name in chain if name in table["functions"]), "")
    return replace(
        entry,
        category=category,
        category_zh=table["category_of"].get(entry.label, named.get(category, "")),
        function_en=function[0] if function else "",
        function_zh=function[1] if function else "",
    )


def _emoji_entries(pack: Path, lexicon: Lexicon) -> list[Entry]:
    """Entries for the emoji; a known concept of the same Chinese name lends its knowledge."""
    entries: dict[str, Entry] = {}
    for record in read_pack(pack, split="train"):
        for region in record.regions:
            known = lexicon.find(region.label)
            name = clean_name_zh(region.label, region.label_zh or "")
            if known is not None and name and (name in known.label_zh or known.label_zh in name):
                entries[region.label] = replace(known, source="emoji")
            elif region.label not in entries:
                entries[region.label] = _emoji_entry(region.label, name or region.label)
    return list(entries.values())


def _emoji_entry(label: str, label_zh: str) -> Entry:
    classes = knowledge()["emoji"]
    words = re.split(r"[ :,-]+", label)
    found = next((classes[word] for word in [words[0], *reversed(words)] if word in classes), None)
    return Entry(
        label=label,
        label_zh=label_zh,
        source="emoji",
        hypernyms=(EMOJI,),
        definition=found[0] if found else "",
        category=EMOJI,
        category_zh=found[1] if found else "",
    )
