"""The regions of one picture or video: which there are, which is selected, what was before (undo).

Knows regions and their texts as values; makes neither masks nor texts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from perceive_anything.errors import PromptError
from perceive_anything.results import Region
from perceive_anything.tasks import RECOGNIZE, TASK_FIELD

MAX_REGIONS, MAX_UNDO = 24, 30


@dataclass(slots=True)
class Answer:
    """Texts of one region, growing while they are written.

    Attributes:
        language: They are in.
        texts: By task, as far as they are written.
        started: Tasks that are being written or are written.
        finished: Tasks that are written.
        confidence: How likely the label is right, 0..1; None until it is written.
        uncertain: Whether that is too little to rely on.
        log_probabilities: Of the texts that are written, by task; see `Region`.
    """

    language: str
    texts: dict[str, str] = field(default_factory=dict)
    started: set[str] = field(default_factory=set)
    finished: set[str] = field(default_factory=set)
    confidence: float | None = None
    uncertain: bool = False
    log_probabilities: dict[str, float] = field(default_factory=dict)

    def abandon(self) -> None:
        """Forget what was begun and is not finished, so that it is begun again."""
        self.started = set(self.finished)
        self.texts = {task: self.texts[task] for task in self.finished}


@dataclass(frozen=True, slots=True, eq=False)
class Entry:
    """One region on the board.

    Args:
        id: Its own, never used again.
        marks: What was pointed at, by number of the frame; only 0 for an image.
        answer: Its texts.
    """

    id: int
    marks: Mapping[int, Region]
    answer: Answer

    @property
    def region(self) -> Region:
        """What was pointed at first in time, without texts."""
        return self.marks[min(self.marks)]

    @property
    def label(self) -> str:
        """What the region is, or "" until that is written."""
        return self.answer.texts[RECOGNIZE] if RECOGNIZE in self.answer.finished else ""

    def result(self, region_id: int) -> Region:
        """The region, under a number, with the texts that are complete."""
        texts: dict[str, Any] = {
            TASK_FIELD[task]: self.answer.texts[task] for task in self.answer.finished
        }
        sure = {TASK_FIELD[task]: value for task, value in self.answer.log_probabilities.items()}
        return replace(
            self.region,
            id=region_id,
            label_confidence=self.answer.confidence,
            uncertain=self.answer.uncertain,
            log_probabilities=sure,
            **texts,
        )


class Board:
    """Regions in the order they were made.

    Attributes:
        entries: The regions.
        selected: Id of the selected one.
    """

    def __init__(self) -> None:
        self.entries: tuple[Entry, ...] = ()
        self.selected: int | None = None
        self._next_id = 0
        self._past: list[tuple[tuple[Entry, ...], int | None]] = []

    @property
    def current(self) -> Entry | None:
        """The selected region."""
        return next((entry for entry in self.entries if entry.id == self.selected), None)

    @property
    def can_undo(self) -> bool:
        """Whether there is something to go back to."""
        return bool(self._past)

    def add(self, regions: Sequence[Region], language: str, *, frame: int = 0) -> None:
        """Add regions and select the first of them.

        Args:
            regions: As they are on the frame that was pointed at.
            language: Of the texts to come.
            frame: Number of that frame.

        Raises:
            PromptError: There are too many regions.
        """
        if len(self.entries) + len(regions) > MAX_REGIONS:
            raise PromptError(
                f"more than {MAX_REGIONS} regions at once.\n  Remove some, then go on.",
                code="prompt_syntax",
            )
        new = tuple(
            Entry(self._next_id + number, {frame: region}, Answer(language))
            for number, region in enumerate(regions)
        )
        self._next_id += len(new)
        self._change(self.entries + new, new[0].id if new else self.selected)

    def correct(self, entry: Entry, region: Region, language: str, *, frame: int = 0) -> None:
        """What a region is after one more gesture on a frame; its texts are written anew."""
        changed = Entry(entry.id, {**entry.marks, frame: region}, Answer(language))
        entries = tuple(changed if old.id == entry.id else old for old in self.entries)
        self._change(entries, entry.id)

    def select(self, region_id: int | None) -> None:
        """Select a region, or none; an id that is not there selects none."""
        there = region_id in [entry.id for entry in self.entries]
        self.selected = region_id if there else None

    def remove(self, region_id: int | None) -> None:
        """Take a region away; one that is not there is no matter."""
        left = tuple(entry for entry in self.entries if entry.id != region_id)
        if len(left) < len(self.entries):
            self._change(left, left[-1].id if left else None)

    def clear(self) -> None:
        """Take all regions away."""
        if self.entries:
            self._change((), None)

    def undo(self) -> None:
        """Back to what was before the last change, if there was one."""
        if self._past:
            self.entries, self.selected = self._past.pop()

    def renew(self, language: str) -> None:
        """Forget all texts that are in another language, also those that undo would bring back."""
        self._past = [(_in(entries, language), selected) for entries, selected in self._past]
        self.entries = _in(self.entries, language)

    def _change(self, entries: tuple[Entry, ...], selected: int | None) -> None:
        self._past = [*self._past[1 - MAX_UNDO :], (self.entries, self.selected)]
        self.entries, self.selected = entries, selected


def _in(entries: tuple[Entry, ...], language: str) -> tuple[Entry, ...]:
    return tuple(
        entry if entry.answer.language == language else replace(entry, answer=Answer(language))
        for entry in entries
    )
