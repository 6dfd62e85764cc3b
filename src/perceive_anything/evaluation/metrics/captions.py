"""METEOR, CIDEr and ROUGE-L by pycocoevalcap, on words of its own tokenizer, as papers count them.

Knows pairs of answer and references; each event of a stream is a pair of its own.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Protocol

from perceive_anything.errors import ModelError, require_package
from perceive_anything.evaluation.captions import words
from perceive_anything.evaluation.metrics.scores import Helpers, Score
from perceive_anything.evaluation.samples import Answered

__all__ = ["cider", "cider_words", "meteor", "ptb_words", "rouge_l"]

Texts = dict[str, list[str]]
LIBRARY = "pycocoevalcap"
SHORT_EVENT = 16  # frames that the model reads of a clip


class _Scorer(Protocol):
    def compute_score(self, people: Texts, said: Texts) -> tuple[float, Sequence[float]]: ...


@dataclass(frozen=True, slots=True)
class _Pair:
    """An answer and its references; of which sample, and whether of a short event."""

    row: int
    said: str
    people: tuple[str, ...]
    short: bool = False


def meteor(answered: Sequence[Answered], helpers: Helpers) -> list[Score]:
    """METEOR 1.5 of the whole corpus (it weighs by length), in per cent."""
    texts = _tokenized(_pairs(answered), "METEOR", "meteor")
    scorer = require_package(f"{LIBRARY}.meteor.meteor", extra="eval").Meteor()
    return _scores("METEOR", answered, scorer, texts)


def cider(answered: Sequence[Answered], helpers: Helpers) -> list[Score]:
    """CIDEr, 100 times the library's number as papers print it."""
    texts = _tokenized(_pairs(answered), "CIDEr", "cider")
    scorer = require_package(f"{LIBRARY}.cider.cider", extra="eval").Cider()
    return _scores("CIDEr", answered, scorer, texts)


def rouge_l(answered: Sequence[Answered], helpers: Helpers) -> list[Score]:
    """ROUGE-L (beta 1.2), in per cent."""
    texts = _tokenized(_pairs(answered), "ROUGE-L", "rouge_l")
    scorer = require_package(f"{LIBRARY}.rouge.rouge", extra="eval").Rouge()
    return _scores("ROUGE-L", answered, scorer, texts)


def cider_words(answered: Sequence[Answered], helpers: Helpers) -> list[Score]:
    """CIDEr on plain lower-case words, which needs no Java; not the number that papers print."""
    scorer = require_package(f"{LIBRARY}.cider.cider", extra="eval").Cider()
    people, said = _tables(_pairs(answered))
    texts = [{key: [words(t) for t in v] for key, v in table.items()} for table in (people, said)]
    note = "on plain words, not those of the papers' tokenizer"
    return _scores("CIDEr (words)", answered, scorer, (texts[0], texts[1]), note)


def ptb_words(texts: Texts) -> Texts:
    """The texts in words of the Penn Treebank tokenizer, lower case, without punctuation.

    Raises:
        MissingExtraError: pycocoevalcap is not installed.
    """
    tokenizer = require_package(f"{LIBRARY}.tokenizer.ptbtokenizer", extra="eval").PTBTokenizer()
    # A text must be one line: the tokenizer counts lines.
    rows = {key: [{"caption": " ".join(t.split())} for t in v] for key, v in texts.items()}
    found: Texts = tokenizer.tokenize(rows)
    return {key: found.get(key, [""] * len(v)) for key, v in texts.items()}


def _tokenized(pairs: Sequence[_Pair], name: str, metric: str) -> tuple[Texts, Texts]:
    require_package(LIBRARY, extra="eval")
    if shutil.which("java") is None:
        raise ModelError(
            f"{name} needs a Java runtime and none was found on PATH.\n"
            "  Install one (Debian: apt-get install default-jre-headless) or leave "
            f"{metric} out of --metrics; cider_words needs none.",
            code="java_missing",
        )
    people, said = _tables(pairs)
    return ptb_words(people), ptb_words(said)


def _pairs(answered: Sequence[Answered]) -> list[_Pair]:
    found = []
    for row, line in enumerate(answered):
        truth, answer = line.sample.truth, line.answer
        if truth.spans:
            events = zip(answer.texts, truth.texts, answer.frames, strict=True)
            found += [_Pair(row, said, (one,), n < SHORT_EVENT) for said, one, n in events]
        elif truth.texts:
            found.append(_Pair(row, answer.text, truth.texts))
    return found


def _tables(pairs: Sequence[_Pair]) -> tuple[Texts, Texts]:
    """References and answers by the number of the pair."""
    people = {str(number): list(pair.people) for number, pair in enumerate(pairs)}
    return people, {str(number): [pair.said] for number, pair in enumerate(pairs)}


def _scores(
    name: str,
    answered: Sequence[Answered],
    scorer: _Scorer,
    texts: tuple[Texts, Texts],
    note: str = "",
) -> list[Score]:
    """The number of all pairs; of streams also that of events with fewer frames than are read."""
    pairs = _pairs(answered)
    if not pairs:
        return [Score(name, None, 0, (None,) * len(answered), "no sample has a reference")]
    value, each = scorer.compute_score(*texts)
    points = [100 * float(one) for one in each]
    rows = _by_row(len(answered), ((p.row, one) for p, one in zip(pairs, points, strict=True)))
    scores = [Score(name, 100 * float(value), len(pairs), rows, note)]
    few = [(p.row, one) for p, one in zip(pairs, points, strict=True) if p.short]
    if few:
        told = "; ".join(filter(None, ("mean over events", note)))
        short = fmean(one for _, one in few)
        each_short = _by_row(len(answered), few)
        scores.append(Score(f"{name}, events under 16 frames", short, len(few), each_short, told))
    return scores


def _by_row(num_rows: int, points: Iterable[tuple[int, float]]) -> tuple[float | None, ...]:
    found: list[list[float]] = [[] for _ in range(num_rows)]
    for row, one in points:
        found[row].append(one)
    return tuple(fmean(values) if values else None for values in found)
