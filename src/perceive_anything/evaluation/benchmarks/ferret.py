"""Ferret-Bench (arXiv 2310.07704), its questions that describe a region ("refer_caption").

Three files of JSON lines, a question each: `question.jsonl` (question_id, image, category, text
with the box as fractions), `answer.jsonl` (the reference answer), `context.jsonl` (what is known of
the image). Format as published with Ferret. PAM knows no free questions: what it describes in
detail is its answer.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from perceive_anything.data.rows import xyxy_inside
from perceive_anything.evaluation.benchmarks.source import UNUSABLE, Source
from perceive_anything.evaluation.samples import Sample, Truth
from perceive_anything.types import Box

__all__ = ["load"]

FRACTIONS = re.compile(
    r"\[\s*(\d*\.?\d+)\s*,\s*(\d*\.?\d+)\s*,\s*(\d*\.?\d+)\s*,\s*(\d*\.?\d+)\s*\]"
)


def load(source: Source) -> Iterator[Sample]:
    """One sample a question; where it names several boxes, the first one."""
    questions = source.file("question.jsonl", "refer_caption/question.jsonl", "*/question.jsonl")
    answers = _by(source, questions.with_name("answer.jsonl"), "question_id")
    contexts = _by(source, questions.with_name("context.jsonl"), "image")
    for place, row in source.rows(questions):
        try:
            media = source.image(row["image"], f"COCO_val2014_{row['image']}")
            box = _box(row["text"], source.size_wh(media))
            key = str(row["question_id"])
            truth = Truth(
                texts=(str(answers[row["question_id"]]["text"]),),
                question=str(row["text"]),
                background=str(contexts[row["image"]]["text"]),
            )
            yield Sample(key, media, box, truth, str(row.get("category", "")))
        except UNUSABLE as error:
            source.bad.leave_out(place, error)


def _by(source: Source, path: Path, name: str) -> dict[Any, Mapping[str, Any]]:
    if not path.is_file():
        raise source.missing(path.name)
    return {row.get(name): row for _, row in source.rows(path)}


def _box(text: str, size_wh: tuple[int, int]) -> Box:
    found = FRACTIONS.search(text)
    if found is None:
        raise ValueError("its text names no box")
    width, height = size_wh
    x1, y1, x2, y2 = (float(number) for number in found.groups())
    xywh = (x1 * width, y1 * height, (x2 - x1) * width, (y2 - y1) * height)
    return Box(*xyxy_inside(xywh, size_wh))
