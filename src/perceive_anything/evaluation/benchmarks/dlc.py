"""DLC-Bench (arXiv 2504.16072): questions that a detailed description of a region must answer.

`annotations.json` (COCO, one mask an annotation), `qa.json` (questions by annotation id: question,
type "positive" or "negative", choices with what each is worth), `class_names.json` (names by
annotation id) and `images/`. Format as read by the benchmark's evaluation, whose first question, if
the description is of the right kind of thing, is asked here in other words.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from perceive_anything.data.rows import xyxy_inside
from perceive_anything.evaluation.benchmarks.source import UNUSABLE, Source
from perceive_anything.evaluation.samples import Question, Sample, Truth
from perceive_anything.masks import segmentation_to_rle
from perceive_anything.types import Box

__all__ = ["load"]


def load(source: Source) -> Iterator[Sample]:
    """One sample an annotation that has questions."""
    path = source.file("annotations.json", "annotations/annotations.json")
    content = source.json(path)
    tables = {}
    for name in ("qa.json", "class_names.json"):
        if not path.with_name(name).is_file():
            raise source.missing(name)
        tables[name] = source.json(path.with_name(name))
    images = {image["id"]: image for image in content["images"]}
    for number, row in enumerate(content["annotations"]):
        try:
            key, image = str(row["id"]), images[row["image_id"]]
            size_wh = (int(image["width"]), int(image["height"]))
            rle = segmentation_to_rle(row["segmentation"], size_wh[::-1])
            label = str(tables["class_names.json"][key])
            quiz = (_recognition(label), *map(_question, tables["qa.json"][key]))
            media = source.image(f"images/{image['file_name']}", image["file_name"])
            box = Box(*xyxy_inside(row["bbox"], size_wh))
            yield Sample(key, media, box, Truth(label=label, rle=rle, quiz=quiz), label)
        except UNUSABLE as error:
            source.bad.leave_out(f"{path.name}: annotations[{number}]", error)


def _recognition(label: str) -> Question:
    asked = f"Can what is described be this, or something much like it: {label}?"
    return Question(asked, "recognition", (("Yes", 1.0), ("No", 0.0)))


def _question(row: Mapping[str, Any]) -> Question:
    if row["type"] not in ("positive", "negative"):
        raise ValueError(f"a question is of type {row['type']!r}")
    choices = tuple((str(text), float(worth)) for text, worth in row["choices"])
    return Question(str(row["question"]), str(row["type"]), choices)
