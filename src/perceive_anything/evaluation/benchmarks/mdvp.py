"""MDVP-Bench (arXiv 2403.20271): questions about boxes or points in pictures of several domains.

A folder a domain with `DOMAIN_box.json` or `DOMAIN_point.json`, lists of: image_name, question,
answer (or gt_answers), and bbox (x, y, w, h) or points, a list of regions. Format as read by the
benchmark's evaluation. PAM describes one region at a time: of a question about several, each region
is compared with its own "<Region N>" part of the answer.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from perceive_anything.data.rows import xyxy_inside
from perceive_anything.evaluation.benchmarks.source import UNUSABLE, Source
from perceive_anything.evaluation.samples import Sample, Truth
from perceive_anything.types import Box, Points, Prompt

__all__ = ["load"]

PART = re.compile(r"<?Region (\d+)>?:\s*")
CONTEXTS = {
    "natural": "The picture is a photo.",
    "ocr": "The picture holds text, and the question is what it says.",
    "android": "The picture is a screenshot of a phone.",
    "web": "The picture is a screenshot of a web page.",
    "screen": "The picture is a screenshot.",
    "panel": "The picture is a figure of several panels.",
}


def load(source: Source) -> Iterator[Sample]:
    """One sample a region."""
    files = [source.root] if source.root.is_file() else sorted(source.folder.rglob("*.json"))
    files = [path for path in files if path.stem.endswith(("_box", "_point"))]
    if not files:
        raise source.missing("*_box.json or *_point.json")
    for path in files:
        for number, (place, row) in enumerate(source.rows(path)):
            try:
                yield from _samples(source, path, number, row)
            except UNUSABLE as error:
                source.bad.leave_out(f"{path.parent.name}/{place}", error)


def _samples(source: Source, path: Path, number: int, row: Mapping[str, Any]) -> list[Sample]:
    name, domain = str(row["image_name"]), path.stem
    media = source.image(f"{path.parent.name}/{name}", name)
    prompts = _prompts(row, source.size_wh(media))
    answer = str(row["answer"] if "answer" in row else row["gt_answers"])
    parts = _parts(answer)
    if len(prompts) > 1 and len(parts) != len(prompts):
        raise ValueError(f"{len(prompts)} regions, {len(parts)} parts in the answer")
    texts = parts if len(parts) == len(prompts) else [answer]
    context = next((told for word, told in CONTEXTS.items() if word in domain.lower()), "")
    return [
        Sample(
            f"{domain}:{number}:{region}",
            media,
            prompt,
            Truth(texts=(text,), question=str(row["question"]), background=context),
            domain,
        )
        for region, (prompt, text) in enumerate(zip(prompts, texts, strict=True))
    ]


def _prompts(row: Mapping[str, Any], size_wh: tuple[int, int]) -> list[Prompt]:
    boxes, points = row.get("bbox") or (), row.get("points") or ()
    prompts: list[Prompt] = [Box(*xyxy_inside(xywh, size_wh)) for xywh in boxes]
    for x, y in points:
        if not (0 <= x <= size_wh[0] and 0 <= y <= size_wh[1]):
            raise ValueError(f"its point ({x}, {y}) lies outside the picture")
        prompts.append(Points([(x, y)]))
    if not prompts:
        raise ValueError("it has no region")
    return prompts


def _parts(answer: str) -> list[str]:
    """What an answer says of each region, in their order."""
    pieces = PART.split(answer)[1:]
    found = {int(n): text.strip() for n, text in zip(pieces[::2], pieces[1::2], strict=True)}
    return [found[number] for number in sorted(found)]
