"""What judges say: of answers beside reference answers, of descriptions, of streams, of quizzes.

Knows which texts make a case of each rubric and how points become the papers' numbers.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from statistics import fmean
from typing import TypeVar

from PIL import Image

from perceive_anything.errors import PerceiveError
from perceive_anything.evaluation.judges.judge import RUBRICS, Case, Points, Rubric
from perceive_anything.evaluation.marks import marked
from perceive_anything.evaluation.metrics.scores import Each, Helpers, Score, mean_score
from perceive_anything.evaluation.samples import Answered, Sample

__all__ = ["continuity", "ferret", "marked_picture", "mdvp", "quiz", "videorefer"]

Value = TypeVar("Value")
JUDGED_PX = 1024  # longest side of a picture that a judge sees


def ferret(answered: Sequence[Answered], helpers: Helpers) -> list[Score]:
    """Ferret-Bench: 100 times the grades of the answers over those of the reference answers."""
    return [_beside_reference("judge", RUBRICS["ferret"], answered, helpers)]


def mdvp(answered: Sequence[Answered], helpers: Helpers) -> list[Score]:
    """MDVP-Bench: as Ferret-Bench, by a judge that sees the picture."""
    return [_beside_reference("judge", RUBRICS["mdvp"], answered, helpers)]


def videorefer(answered: Sequence[Answered], helpers: Helpers) -> list[Score]:
    """VideoRefer-Bench-D: four grades from 0 to 5 and their average."""
    rubric = RUBRICS["videorefer"]
    found = [_ask(rubric, line, helpers) for line in answered]
    note = _note(helpers, found)
    average = [fmean(points.values()) if points else None for points in found]
    scores = [mean_score("average", average, note)]
    for name in rubric.points:
        each = [points[name] if points else None for points in found]
        scores.append(mean_score(name, each, note))
    return scores


def continuity(answered: Sequence[Answered], helpers: Helpers) -> list[Score]:
    """G-STDC: how well the captions of a stream continue one another, 0 to 5."""
    found = [_ask(RUBRICS["continuity"], line, helpers) for line in answered]
    each = [points["continuity"] if points else None for points in found]
    return [mean_score("G-STDC", each, _note(helpers, found))]


def quiz(answered: Sequence[Answered], helpers: Helpers) -> list[Score]:
    """DLC-Bench: what the judge answers from the description alone is worth points, in per cent.

    The first question is what the object is; if the description is of something else, no question
    can earn a point, only lose one.
    """
    positive: list[float | None] = []
    negative: list[float | None] = []
    verdicts: list[Points | None] = []
    for line in answered:
        worth: dict[str, list[float]] = {"recognition": [], "positive": [], "negative": []}
        for question in line.sample.truth.quiz:
            choices = "\n".join(f"{n}. {c}" for n, (c, _) in enumerate(question.choices, start=1))
            case = Case(f"{question.text}\n{choices}", "", line.answer.text)
            points = helpers.judge.judge(RUBRICS["quiz"], case)
            verdicts.append(points)
            # A reply without a choice counts as not said, as in the benchmark.
            number = int(points["choice"]) if points else 0
            in_range = 1 <= number <= len(question.choices)
            worth[question.kind].append(question.choices[number - 1][1] if in_range else 0.0)
        recognized = all(worth["recognition"])
        for kind, each in (("positive", positive), ("negative", negative)):
            values = [value if recognized else min(0.0, value) for value in worth[kind]]
            each.append(100 * fmean(values) if values else None)
    note = _note(helpers, verdicts)
    first, second = mean_score("positive", positive, note), mean_score("negative", negative, note)
    means = [score.value for score in (first, second) if score.value is not None]
    pairs = zip(positive, negative, strict=True)
    both: Each = tuple(fmean(known) if (known := _known(p)) else None for p in pairs)
    average = Score("average", fmean(means) if means else None, len(both), both, note)
    return [average, first, second]


def marked_picture(sample: Sample) -> bytes:
    """PNG of the sample's picture with its region marked; b"" where it cannot be read."""
    try:
        image = sample.media.load(sample.frame)
    except (PerceiveError, OSError, IndexError):
        return b""
    picture = Image.fromarray(marked(image, sample.prompt))
    picture.thumbnail((JUDGED_PX, JUDGED_PX))
    stream = io.BytesIO()
    picture.save(stream, "PNG")
    return stream.getvalue()


def _beside_reference(
    name: str, rubric: Rubric, answered: Sequence[Answered], helpers: Helpers
) -> Score:
    found = [_ask(rubric, line, helpers) for line in answered]
    each = tuple(100 * p["answer"] / p["reference"] if p else None for p in found)
    known = _known(found)
    total = sum(points["reference"] for points in known)
    value = 100 * sum(points["answer"] for points in known) / total if known else None
    return Score(name, value, len(known), each, _note(helpers, found))


def _ask(rubric: Rubric, line: Answered, helpers: Helpers) -> Points | None:
    truth, answer = line.sample.truth, line.answer
    case = Case(
        question=truth.question,
        reference=_listed(truth.texts) if truth.spans else "\n".join(truth.texts),
        answer=_listed(answer.texts) if truth.spans else answer.text,
        background=truth.background,
        picture=marked_picture(line.sample) if rubric.shows_picture and helpers.judge.sees else b"",
    )
    return helpers.judge.judge(rubric, case)


def _listed(texts: Sequence[str]) -> str:
    return "\n".join(f"{number}. {text}" for number, text in enumerate(texts, start=1))


def _note(helpers: Helpers, found: Sequence[Points | None]) -> str:
    failed = sum(points is None for points in found)
    told = [f"judged by {helpers.judge.name}", helpers.judge.note]
    told += [f"{failed} replies held no valid grade"] if failed else []
    return "; ".join(filter(None, told))


def _known(values: Iterable[Value | None]) -> list[Value]:
    return [value for value in values if value is not None]
