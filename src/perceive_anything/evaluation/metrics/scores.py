"""What a metric gives back, and what it may need besides the answers."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING

from perceive_anything.evaluation.judges.judge import Judge
from perceive_anything.evaluation.samples import Answered

if TYPE_CHECKING:
    from perceive_anything.data.lexicon import Lexicon

__all__ = ["Each", "Helpers", "Metric", "Score", "by_group", "mean_score"]

Each = tuple[float | None, ...]


@dataclass(frozen=True, slots=True)
class Score:
    """One number of a benchmark.

    Attributes:
        name: As papers call it.
        value: As papers print it: per cent where they do. None if no sample has it.
        count: Of how many samples (or events) it is.
        each: Of each sample on the same scale, None where it has none; higher is better.
        note: What a reader of the number must know.
    """

    name: str
    value: float | None
    count: int
    each: Each
    note: str = ""


@dataclass(frozen=True, slots=True)
class Helpers:
    """What metrics may need.

    Attributes:
        judge: Reads texts and gives points.
        lexicon: Knows which names mean the same; None without one.
    """

    judge: Judge
    lexicon: Lexicon | None = None


Metric = Callable[[Sequence[Answered], Helpers], list[Score]]


def mean_score(name: str, each: Sequence[float | None], note: str = "") -> Score:
    """The mean over the samples that have a value."""
    known = [value for value in each if value is not None]
    return Score(name, fmean(known) if known else None, len(known), tuple(each), note)


def by_group(answered: Sequence[Answered], each: Each) -> dict[str, tuple[float, int]]:
    """Mean and number of samples of each group, the groups sorted by name."""
    found: dict[str, list[float]] = defaultdict(list)
    for line, value in zip(answered, each, strict=True):
        if value is not None:
            found[line.sample.group].append(value)
    return {group: (fmean(values), len(values)) for group, values in sorted(found.items())}
